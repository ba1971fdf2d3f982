"""Serves the console: for a fleet as a program of its own, and for a simulation beside it."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import logging
import shlex
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from fedstill_proto.errors import FedstillError
from starlette.concurrency import run_in_threadpool

from fedstill_server.console.app import make_app, metrics_app
from fedstill_server.console.errors import ConsoleError
from fedstill_server.console.login import Credentials
from fedstill_server.console.telemetry import Telemetry
from fedstill_server.console.view import View
from fedstill_server.fleet.certificates import server_files
from fedstill_server.fleet.folder import FleetFolder
from fedstill_server.operations.database import FleetDatabase

LOOPBACK = "127.0.0.1"
_WATCH_EVERY_S, _HOOK_S = 5.0, 60.0

log = logging.getLogger("fedstill.console")


@dataclass(frozen=True, kw_only=True)
class ConsoleOptions:
    """Where the console listens.

    Attributes:
        host: The address; on any but loopback it speaks TLS with the fleet's certificate.
        port: TCP; 0 takes one that is free.
        metrics_port: Where /metrics is without a login, on loopback alone; 0 is nowhere.
        otel: The address of an OpenTelemetry collector (OTLP over HTTP) that is sent rounds; empty is none.
        on_alarm: A command that is run for each alarm that is raised or cleared, with what it is as JSON on
            its standard input; empty runs none.
        allow_changes: Whether its page has buttons that change the fleet.
    """

    host: str = LOOPBACK
    port: int = 8600
    metrics_port: int = 0
    on_alarm: str = ""
    allow_changes: bool = False
    otel: str = ""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def serve_console(
    folder: Path, options: ConsoleOptions, *, on_ready: Callable[[str], None] = lambda url: None
) -> None:
    """Serve a fleet's console until SIGTERM or Ctrl-C.

    Args:
        folder: The fleet's.
        options: Where.
        on_ready: Called with its address.

    Raises:
        ConsoleError: There is no password yet, or the port is taken.
    """
    fleet = FleetFolder.open(folder)
    credentials = Credentials.read(fleet)
    view = View.of_fleet(folder)
    certificate: dict[str, str] = {}
    if not options.is_loopback:
        public, private = server_files(fleet)
        certificate = {"ssl_certfile": str(public), "ssl_keyfile": str(private)}
    app = make_app(view, credentials, is_secure=bool(certificate), allow_changes=options.allow_changes)
    servers = [(app, _listening(options.host, options.port), certificate)]
    if options.metrics_port:
        servers.append((metrics_app(view), _listening(LOOPBACK, options.metrics_port), {}))
    port = servers[0][1].getsockname()[1]
    host = f"[{options.host}]" if ":" in options.host else options.host
    on_ready(f"{'https' if certificate else 'http'}://{host}:{port}/")
    hook = _Hook(view.database, shlex.split(options.on_alarm))
    telemetry = Telemetry(options.otel, view.overview) if options.otel else None
    try:
        asyncio.run(_serve_all(servers, lambda: _look(view, hook, telemetry)))
    finally:
        if telemetry is not None:
            telemetry.close()


@contextmanager
def console_beside(view: View, *, port: int = 0) -> Iterator[str]:
    """Serve a simulation's console on loopback in a thread of this process, without a login.

    Args:
        view: What it shows.
        port: TCP; 0 takes one that is free.

    Yields:
        Its address.
    """
    listening = _listening(LOOPBACK, port)
    server = _Server(_config(make_app(view, None), {}))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="console", daemon=True)
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{listening.getsockname()[1]}/"
    finally:
        server.should_exit = server.force_exit = True
        thread.join(timeout=10)
        listening.close()


class _Server(uvicorn.Server):
    """A server that leaves signals to whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


class _Hook:
    """Runs a command for each alarm that is raised or cleared."""

    def __init__(self, database: FleetDatabase | None, command: Sequence[str]) -> None:
        self._database, self._command = database, command
        self._after = self._newest() if command else 0

    def run(self) -> None:
        """Run it for what is new; a command that fails is logged, and not run again."""
        if not self._command or self._database is None:
            return
        for one in self._database.events(after=self._after, kinds=["alarm"]):
            self._after = one.number
            document = {"at": one.at, "text": one.text, **one.document}
            try:
                subprocess.run(
                    list(self._command),
                    input=json.dumps(document).encode(),
                    check=True,
                    timeout=_HOOK_S,
                )
            except (OSError, subprocess.SubprocessError) as error:
                log.error("--on-alarm %s: %s", self._command[0], error)

    def _newest(self) -> int:
        newest = [] if self._database is None else self._database.last_events(1)
        return newest[-1].number if newest else 0


def _look(view: View, hook: _Hook, telemetry: Telemetry | None) -> None:
    """Write down alarms, and tell of them and of rounds."""
    try:
        it = view.watch()
        if telemetry is not None:
            telemetry.send(it)
        hook.run()
    except (FedstillError, OSError) as error:
        log.error("%s", error)


async def _serve_all(
    servers: Sequence[tuple[FastAPI, socket.socket, dict[str, str]]], look: Callable[[], None]
) -> None:
    running = [(_Server(_config(app, tls)), listening) for app, listening, tls in servers]

    def end() -> None:
        for server, _ in running:
            server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    watching = asyncio.create_task(_again(look))
    watching.add_done_callback(lambda _: end())
    try:
        await asyncio.gather(*(server.serve(sockets=[listening]) for server, listening in running))
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


async def _again(work: Callable[[], None]) -> None:
    while True:
        await run_in_threadpool(work)
        await asyncio.sleep(_WATCH_EVERY_S)


def _config(app: FastAPI, certificate: dict[str, str]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_level="warning",
        ws="none",
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=2,
        limit_concurrency=200,
        proxy_headers=False,
        **certificate,  # type: ignore[arg-type]
    )


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(128)  # whoever is told the address may connect
    except (OSError, OverflowError) as error:
        listening.close()
        problem = getattr(error, "strerror", None) or error
        raise ConsoleError(f"port: {host}:{port} cannot be listened on: {problem}; choose another.") from None
    return listening
