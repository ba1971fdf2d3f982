"""The console's web application: the page, the same as JSON, and metrics; all behind the login.

It changes nothing unless --allow-changes lets it. What devices have written is only ever escaped text; the
page runs the one script that its nonce names, and asks for nothing from elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import asdict
from importlib import resources
from typing import Annotated
from urllib.parse import parse_qs, urlsplit

from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from fedstill_proto.errors import FedstillError
from starlette.concurrency import run_in_threadpool
from starlette.middleware.trustedhost import TrustedHostMiddleware

from fedstill_server.console.changes import CHANGES, change
from fedstill_server.console.errors import ConsoleError
from fedstill_server.console.login import SESSION_S, Credentials, Sessions, Tries
from fedstill_server.console.metrics import CONTENT_TYPE, metrics_text
from fedstill_server.console.overview import Overview
from fedstill_server.console.view import View
from fedstill_server.pages.rendering import render

SESSION_COOKIE, LOGIN_COOKIE = "fedstill-console", "fedstill-login"
_FORM_LIMIT_BYTES = 8192
_ROUNDS_SHOWN, _DEVICES_SHOWN = 200, 300
_LOOK_EVERY_S, _MOST_STREAMS, _STREAM_S = 1.0, 32, 3600.0
_PACKAGE = "fedstill_server.console"


def make_app(
    view: View, credentials: Credentials | None, *, is_secure: bool = False, allow_changes: bool = False
) -> FastAPI:
    """The application.

    Args:
        view: What it shows.
        credentials: Who may look; None lets everybody of this machine look, and is for simulations.
        is_secure: Whether browsers reach it over TLS.
        allow_changes: Whether who has logged in may change what changes.py lists.
    """
    app = FastAPI(title="fedstill console", docs_url=None, redoc_url=None, openapi_url=None)
    if credentials is None:  # a page elsewhere whose name leads here reads nothing
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]"])
    door = _Door(credentials, is_secure=is_secure)
    let_in = [Depends(door.require)]

    @app.middleware("http")
    async def with_headers(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        request.state.nonce = secrets.token_urlsafe(16)
        response = await answer(request)
        for name, value in _headers(request.state.nonce).items():
            response.headers.setdefault(name, value)
        return response

    @app.exception_handler(FedstillError)
    async def told(request: Request, error: FedstillError) -> Response:
        return JSONResponse({"error": str(error)}, status_code=503)

    @app.get("/", response_class=HTMLResponse)
    async def page(request: Request) -> Response:
        if not door.is_open_to(request):
            return RedirectResponse("/login", status_code=303)
        text = render(
            _PACKAGE,
            "console.html",
            nonce=request.state.nonce,
            script=(resources.files(_PACKAGE) / "console.js").read_text(encoding="utf-8"),
            form_token=door.form_token(request),
            with_login=credentials is not None,
            changes=sorted(CHANGES) if allow_changes else [],
        )
        return HTMLResponse(text)

    @app.get("/login", response_class=HTMLResponse)
    async def login_page(request: Request) -> Response:
        return door.login_page(request)

    @app.post("/login")
    async def login(request: Request) -> Response:
        return await door.login(request, await _form(request))

    @app.post("/logout")
    async def logout(request: Request) -> Response:
        return door.logout(request, await _form(request))

    @app.post("/change")
    async def make_change(request: Request) -> Response:
        form = await _form(request)
        door.require_form(request, form)
        if not allow_changes:
            raise HTTPException(404, "this console changes nothing; start it with --allow-changes")
        try:
            await run_in_threadpool(change, view.folder, form.get("what", ""))
        except ConsoleError as error:
            return JSONResponse({"error": str(error)}, status_code=409)
        return JSONResponse({"done": form["what"]})

    @app.get("/api/fleet", dependencies=let_in)
    def fleet(
        rounds: Annotated[int, Query(ge=0, le=2000)] = _ROUNDS_SHOWN,
        devices: Annotated[int, Query(ge=0, le=1_000_000)] = _DEVICES_SHOWN,
    ) -> Response:
        return JSONResponse(view.overview().to_json(rounds=rounds, devices=devices))

    @app.get("/api/alarms", dependencies=let_in)
    def alarms() -> Response:
        return JSONResponse([asdict(one) for one in view.overview().alarms])

    @app.get("/api/events", dependencies=let_in)
    def events(
        after: Annotated[int, Query(ge=0)] = 0, limit: Annotated[int, Query(ge=1, le=1000)] = 200
    ) -> Response:
        found = [] if view.database is None else view.database.events(after=after, limit=limit)
        return JSONResponse([asdict(one) for one in found])

    @app.get("/metrics", dependencies=let_in)
    def metrics() -> Response:
        return Response(metrics_text(view.overview()), media_type=CONTENT_TYPE)

    streams = asyncio.Semaphore(_MOST_STREAMS)

    @app.get("/api/stream", dependencies=let_in)
    async def stream(request: Request) -> Response:
        if streams.locked():
            raise HTTPException(503, "too many pages look at once; close some")
        return StreamingResponse(
            _news(view, streams, lambda: door.is_open_to(request)), media_type="text/event-stream"
        )

    return app


def metrics_app(view: View) -> FastAPI:
    """An application of /metrics alone, without a login: for a port that this machine alone reaches."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]"])

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(metrics_text(view.overview()), media_type=CONTENT_TYPE)

    return app


class _Door:
    """Lets in who has logged in, or brings the token."""

    def __init__(self, credentials: Credentials | None, *, is_secure: bool) -> None:
        self._credentials, self._is_secure = credentials, is_secure
        self._sessions = Sessions(credentials.secret if credentials else secrets.token_hex(32))
        self._tries, self._trying = Tries(), asyncio.Semaphore(1)

    def is_open_to(self, request: Request) -> bool:
        """Whether the request comes from somebody who may look."""
        if self._credentials is None:
            return True
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._credentials.is_token(token.strip())
        return self._sessions.holds(request.cookies.get(SESSION_COOKIE, ""))

    async def require(self, request: Request) -> None:
        """Refuse everybody else."""
        if not self.is_open_to(request):
            raise HTTPException(401, "log in, or send the token", {"WWW-Authenticate": "Bearer"})

    def form_token(self, request: Request) -> str:
        """What the forms of a page must hold."""
        return self._sessions.form_token(request.cookies.get(SESSION_COOKIE, ""))

    def login_page(self, request: Request, problem: str = "", status: int = 200) -> Response:
        """The page that asks for the password."""
        cookie = self._sessions.begin()
        text = render(
            _PACKAGE,
            "login.html",
            nonce=request.state.nonce,
            form_token=self._sessions.form_token(cookie),
            problem=problem,
        )
        response = HTMLResponse(text, status_code=status)
        self._set(response, LOGIN_COOKIE, cookie, path="/login", seconds=900)
        return response

    async def login(self, request: Request, form: Mapping[str, str]) -> Response:
        """Take a password, or say why not."""
        if self._credentials is None:
            return RedirectResponse("/", status_code=303)
        asked = request.cookies.get(LOGIN_COOKIE, "")
        if not (_is_of_here(request) and self._sessions.holds(asked)):
            return self.login_page(request, "This page was open for too long; try again.", 403)
        if not self._sessions.is_form_token(asked, form.get("form_token", "")):
            return self.login_page(request, "This page was open for too long; try again.", 403)
        address = request.client.host if request.client else ""
        async with self._trying:  # one at a time: each takes memory and time on purpose
            if (wait_s := self._tries.wait_s(address)) > 0:
                response = self.login_page(
                    request, f"Too many wrong passwords; wait {wait_s:.0f} seconds.", 429
                )
                response.headers["Retry-After"] = f"{wait_s:.0f}"
                return response
            if not await run_in_threadpool(self._credentials.is_password, form.get("password", "")):
                self._tries.failed(address)
                return self.login_page(request, "That is not the password.", 403)
        response = RedirectResponse("/", status_code=303)
        self._set(response, SESSION_COOKIE, self._sessions.begin(), path="/", seconds=SESSION_S)
        response.delete_cookie(LOGIN_COOKIE, path="/login")
        return response

    def logout(self, request: Request, form: Mapping[str, str]) -> Response:
        """End a session in its browser."""
        self.require_form(request, form)
        response = RedirectResponse("/login", status_code=303)
        response.delete_cookie(SESSION_COOKIE, path="/")
        return response

    def require_form(self, request: Request, form: Mapping[str, str]) -> None:
        """Refuse what a page of this session has not sent; a token of programs is none."""
        cookie = request.cookies.get(SESSION_COOKIE, "")
        if not self._sessions.holds(cookie) or not _is_of_here(request):
            raise HTTPException(403, "this form is not of this page")
        if not self._sessions.is_form_token(cookie, form.get("form_token", "")):
            raise HTTPException(403, "this form is not of this page")

    def _set(self, response: Response, name: str, value: str, *, path: str, seconds: float) -> None:
        response.set_cookie(
            name,
            value,
            max_age=int(seconds),
            path=path,
            secure=self._is_secure,
            httponly=True,
            samesite="strict",
        )


def _is_of_here(request: Request) -> bool:
    """Whether a form was sent by a page of ours, where the browser says whose it was."""
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


async def _form(request: Request) -> dict[str, str]:
    """The fields of a small form."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _FORM_LIMIT_BYTES:
            raise HTTPException(413, "the form is too large")
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=8)
    except ValueError:
        raise HTTPException(400, "not a form") from None
    return {name: values[-1] for name, values in fields.items()}


async def _news(view: View, streams: asyncio.Semaphore, is_open: Callable[[], bool]) -> AsyncIterator[str]:
    """A line whenever something has changed, for as long as the session holds and at most an hour."""
    async with streams:
        yield "retry: 2000\n\n"
        seen, quiet = "", 0
        for _ in range(int(_STREAM_S / _LOOK_EVERY_S)):
            if not is_open():
                return
            try:
                mark = _mark(await run_in_threadpool(view.overview))
            except FedstillError as error:
                mark = f"error {error}"
            if mark != seen:
                seen, quiet = mark, 0
                yield f"event: changed\ndata: {json.dumps(mark[:200])}\n\n"
            elif (quiet := quiet + 1) % 15 == 0:
                yield ": still here\n\n"  # so that a broken connection is noticed
            await asyncio.sleep(_LOOK_EVERY_S)


def _mark(it: Overview) -> str:
    """What is different where there is something new to show."""
    last = it.rounds[-1].round if it.rounds else 0
    event = it.events[-1].number if it.events else 0
    seen = [one.state for one in it.devices]
    online = sum(one.online for one in seen)
    alarms = ",".join(one.name for one in it.alarms)
    states = hash(tuple((one.name, one.last_round, one.last_outcome, one.package_version) for one in seen))
    waits = it.status.text if it.status else ""
    plan = json.dumps(it.plan, sort_keys=True)
    return f"{last} {event} {online} {len(it.audit)} {it.is_up} {it.phase} {alarms} {states} {waits} {plan}"


def _headers(nonce: str) -> dict[str, str]:
    return {
        "Content-Security-Policy": "; ".join(
            (
                "default-src 'none'",
                f"script-src 'nonce-{nonce}'",
                f"style-src 'nonce-{nonce}'",
                "img-src data:",
                "connect-src 'self'",
                "form-action 'self'",
                "base-uri 'none'",
                "frame-ancestors 'none'",
            )
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",  # without one, forms would say that they come from nowhere
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
