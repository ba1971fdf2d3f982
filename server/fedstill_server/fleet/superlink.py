"""Flower's SuperLink, with a guard before its routes for devices (see guard.py).

Beside flower.py and bounded_grid.py this module uses names which Flower keeps for itself; those of 1.41 and
1.42 are the same.

    python -P -m fedstill_server.fleet.superlink <the options of flower-superlink>

The fleet's folder is named by FEDSTILL_RUN.
"""

from __future__ import annotations

import asyncio
import binascii
import datetime
import logging
import os
import sys
import time
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

# Before flwr: it switches flwr's telemetry and update check off.
import fedstill_proto  # noqa: F401  # isort: skip
from fedstill_proto.errors import WireError
from fedstill_proto.message_pieces import object_names
from fedstill_proto.system.steering import CLOCK, REFUSED_HEADER, REVOKED, UNREGISTERED
from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_HEADER, TIMESTAMP_TOLERANCE
from flwr.proto.fleet_pb2 import PushMessagesRequest, PushMessagesResponse
from flwr.proto.message_pb2 import PushObjectRequest
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, verify_signature
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from flwr.superlink import extensions
from google.protobuf.message import DecodeError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fedstill_server.fleet.devices import DeviceRegister
from fedstill_server.fleet.errors import FleetError
from fedstill_server.fleet.guard import (
    OBJECT_LIMIT_BYTES,
    REQUEST_LIMIT_BYTES,
    Allowances,
    seconds_for,
)
from fedstill_server.fleet.lean_superlink import limit_threads, spare_writes
from fedstill_server.fleet.pace_steering import PaceSteering
from fedstill_server.fleet.reply_limit import RELAY_LIMIT_BYTES, read_reply_limit
from fedstill_server.fleet.sightings import LOAD, WRITE_EVERY_S, Sightings
from fedstill_server.run_folder import FOLDER_VARIABLE

_FLEET, _PUSH_MESSAGES, _PUSH_OBJECT = "/v1/fleet/", "/v1/fleet/push-messages", "/v1/fleet/push-object"
_READ_AGAIN_S, _SETTLED_NS = 2.0, 2_000_000_000
_BAD, _UNKNOWN, _REFUSED, _LATE, _TOO_LARGE, _LATER = 400, 401, 403, 408, 413, 503

log = logging.getLogger("fedstill.guard")


@dataclass(frozen=True)
class _Known:
    """What the operator's folder says: devices by their keys, and the most bytes of a reply."""

    registered: Mapping[bytes, str] = field(default_factory=dict)
    revoked: Mapping[bytes, str] = field(default_factory=dict)
    relays: frozenset[bytes] = frozenset()
    reply_limit_bytes: int = 0
    changed_at: tuple[int, int] = (-1, -1)

    def read(self, folder: Path) -> _Known:
        """The same as it is now; keys are read only where their lists have changed."""
        register, reply_limit_bytes = DeviceRegister(folder / "devices"), read_reply_limit(folder)
        if (changed_at := register.changed_at()) == self.changed_at:
            return replace(self, reply_limit_bytes=reply_limit_bytes)
        if time.time_ns() - max(changed_at) < _SETTLED_NS:
            changed_at = (-1, -1)  # another change may bear the same time
        devices = register.all()
        registered = {device.key_bytes: device.name for device in devices}
        relays = frozenset(device.key_bytes for device in devices if device.relay_devices)
        revoked = {device.key_bytes: device.name for device in register.revoked()}
        return _Known(registered, revoked, relays, reply_limit_bytes, changed_at)

    def limit_bytes(self, key: bytes) -> int:
        """The most bytes of a reply under this key."""
        return RELAY_LIMIT_BYTES if key in self.relays else self.reply_limit_bytes


class FleetGuard:
    """ASGI middleware: the only way to Flower's routes for devices."""

    def __init__(self, app: ASGIApp, folder: Path) -> None:
        self._app, self._folder = app, folder
        self._allowances, self._sightings = Allowances(), Sightings(folder)
        self._steering = PaceSteering(folder)
        self._writing: asyncio.Task[None] | None = None
        self._known, self._read_at = _Known(), -_READ_AGAIN_S

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            limit_threads()
        if scope["type"] != "http" or not scope["path"].startswith(_FLEET):
            await self._app(scope, receive, send)
            return
        headers, known = Headers(scope=scope), await self._current()
        key = _decoded(headers.get(FLEET_HTTP_PUBLIC_KEY_HEADER))
        limit = OBJECT_LIMIT_BYTES if scope["path"] == _PUSH_OBJECT else REQUEST_LIMIT_BYTES
        size = headers.get("content-length", "")
        self._write_soon()
        if (why := await self._not_let_in(key, headers, known)) is not None:
            await _answer(_UNKNOWN, scope, receive, send, {REFUSED_HEADER: why})
        elif not size.isdecimal() or len(size) > 12 or int(size) > limit:
            await _answer(_TOO_LARGE, scope, receive, send)
        elif not self._allowances.start(key, int(size)):
            self._sightings.refused(LOAD, known.registered[key])
            await _answer(_LATER, scope, receive, send, {"retry-after": "5"})
        else:
            try:
                await self._admit(key, int(size), scope, receive, send)
            finally:
                self._allowances.end(key, int(size))

    async def _not_let_in(self, key: bytes, headers: Headers, known: _Known) -> str | None:
        """Why this device is not let in, in a word that only the key's holder learns; None where it is."""
        name = known.registered.get(key) or known.revoked.get(key)
        if name is None:
            self._sightings.refused(UNREGISTERED)
            return UNREGISTERED
        signed = await run_in_threadpool(_signed, headers, key)
        if signed is None:
            return UNREGISTERED
        if key not in known.registered:
            self._sightings.refused(REVOKED, name)
            return REVOKED
        if not signed:
            self._sightings.refused(CLOCK, name)
            return CLOCK
        self._sightings.saw(name)
        return None

    def _write_soon(self) -> None:
        """Have what was seen written within seconds; nothing waits for it."""
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        await asyncio.sleep(WRITE_EVERY_S)
        await run_in_threadpool(self._sightings.write)

    async def _admit(self, key: bytes, size: int, scope: Scope, receive: Receive, send: Send) -> None:
        """Read a body, look what it asks for, and hand it on."""
        try:
            body = await asyncio.wait_for(_read(receive, size), seconds_for(size))
        except TimeoutError:
            await _answer(_LATE, scope, receive, send)
            return
        if body is None:  # the device has gone, or has said another size
            return
        refusal = None
        if scope["path"] == _PUSH_MESSAGES:
            refusal = await self._reply_refused(key, body, scope)
            self._steering.replied(key)
        elif scope["path"] == _PUSH_OBJECT:
            refusal = self._object_refused(key, body)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        steered = self._steering.telling(send, key, devices=len(self._known.registered))
        await self._app(scope, _replaying(body, receive), steered)

    async def _reply_refused(self, key: bytes, body: bytes, scope: Scope) -> Response | None:
        """Flower takes a reply for whose it says it is, with any number of objects, however often."""
        try:
            request = PushMessagesRequest.FromString(body)
            (reply,), (tree,) = request.messages_list, request.message_object_trees
            object_names(tree)
        except (DecodeError, ValueError, WireError) as error:
            return _refused(_BAD, f"a reply that cannot be read: {error}")
        metadata = reply.metadata
        if metadata.src_node_id != request.node.node_id:
            return _refused(_REFUSED, f"node {request.node.node_id} replies as node {metadata.src_node_id}")
        if tree.object_id != metadata.message_id:
            return _refused(_REFUSED, f"node {request.node.node_id} sends other objects than its reply's")
        question = metadata.reply_to_message_id
        state = scope["app"].state.linkstate_factory.state()
        asked: Mapping[str, Any] | None = await run_in_threadpool(state.get_valid_message_ins, question)
        if asked is None:  # it comes too late; Flower would open a session for it all the same
            content = PushMessagesResponse().SerializeToString()
            return Response(content, media_type=PROTOBUF_MEDIA_TYPE)
        if not self._allowances.replies(key, question):
            return _refused(_REFUSED, f"node {request.node.node_id} replies to one question again and again")
        return None

    def _object_refused(self, key: bytes, body: bytes) -> Response | None:
        try:
            request = PushObjectRequest.FromString(body)
        except DecodeError:
            return _refused(_BAD, "an object that cannot be read")
        if not request.session_id:
            return _refused(_BAD, "an object without a session")
        limit, size = self._known.limit_bytes(key), len(request.object_content)
        if not self._allowances.pushes(key, request.session_id, size, limit_bytes=limit):
            return _refused(
                _TOO_LARGE, f"node {request.node.node_id} sends a reply of more than {limit} bytes"
            )
        return None

    async def _current(self) -> _Known:
        """What the folder says, at most two seconds old."""
        if time.monotonic() - self._read_at >= _READ_AGAIN_S:
            self._read_at = time.monotonic()
            try:
                self._known = await run_in_threadpool(self._known.read, self._folder)
                self._allowances.keep(frozenset(self._known.registered))
                self._sightings.keep(frozenset(self._known.registered.values()))
            except FleetError as error:
                log.warning("the register of devices: %s", error)
        return self._known


async def _read(receive: Receive, size: int) -> bytes | None:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > size:
            return None
        if not message.get("more_body", False):
            return bytes(body) if len(body) == size else None


def _replaying(body: bytes, receive: Receive) -> Receive:
    """What was read already, then whatever comes after it."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return first.pop() if first else await receive()

    return replay


def _signed(headers: Headers, key: bytes) -> bool | None:
    """Whether a request was signed just now; None where it is not signed with its key at all.

    Flower looks once more, when it has the body.
    """
    timestamp = headers.get(TIMESTAMP_HEADER, "")
    try:
        age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(timestamp)
        signature = _decoded(headers.get(FLEET_HTTP_SIGNATURE_HEADER))
        if not verify_signature(bytes_to_public_key(key), timestamp.encode("ascii"), signature):
            return None
        return -SYSTEM_TIME_TOLERANCE < age.total_seconds() < TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE
    except (ValueError, TypeError):
        return None


def _decoded(header: str | None) -> bytes:
    try:
        return b64decode(header or "", validate=True)
    except (binascii.Error, ValueError):
        return b""


def _refused(status: int, why: str) -> Response:
    log.warning("refused: %s", why)
    return Response(status_code=status)


async def _answer(
    status: int, scope: Scope, receive: Receive, send: Send, headers: Mapping[str, str] | None = None
) -> None:
    await Response(status_code=status, headers=headers)(scope, receive, send)


def main() -> None:
    from flwr.superlink.cli.flower_superlink import flower_superlink

    folder, of_flower = Path(os.environ[FOLDER_VARIABLE]), extensions.get_middleware
    extensions.get_middleware = lambda: (Middleware(FleetGuard, folder=folder), *of_flower())
    spare_writes()
    sys.argv[0] = "flower-superlink"
    flower_superlink()


if __name__ == "__main__":
    main()
