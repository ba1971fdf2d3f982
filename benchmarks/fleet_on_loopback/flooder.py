"""A registered device that floods its server: so many hostile messages a second, for so many seconds.

It takes part as a device does, under its own key, until it is asked for its part of a round. Then, on
connections of its own:

* replies to its question again and again, in its own name and another's, of one object and of thousands;
* a reply that is announced and never sent, which stops a server that waits for it;
* replies of 300 MiB, as far as they are taken;
* requests of every other kind, as fast as they go;
* a dozen connections without a registered key, each of which begins a body of 5 MB and sends it slowly.

    python -m benchmarks.fleet_on_loopback.flooder HOME ADDRESS --rate 1000 --seconds 60
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import os
import ssl
import sys
import threading
import time
from base64 import b64encode
from collections import Counter
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key
from fedstill_client.fleet.membership import authority_file, device_key
from fedstill_client.fleet.supernode import Answering, access_of
from fedstill_client.home import DEVICE_FOLDER_VARIABLE, AgentHome
from fedstill_proto.flower_objects import take_apart
from fedstill_proto.flower_records import pack
from fedstill_proto.message_pieces import TakenApart
from fedstill_proto.system.flower_node import FleetConnection, Received
from fedstill_proto.v1.fleet_pb2 import (
    GetRunRequest,
    Node,
    ObjectTree,
    PullMessagesRequest,
    PushMessagesRequest,
    PushMessagesResponse,
    PushObjectRequest,
    SendNodeHeartbeatRequest,
)
from flwr.app import Message

# An address of its own on loopback, as a device has one.
FROM = "127.0.0.2"
_CONNECTIONS, _KEYLESS = 24, 12
_HUGE_BYTES, _CHUNK_BYTES = 300 << 20, 5 << 20


class Flood:
    """The requests, and what came of them by status."""

    def __init__(self, home: AgentHome, address: str, seconds: float) -> None:
        self.host, _, port = address.rpartition(":")
        self.port, self.end = int(port), time.monotonic() + seconds
        self.statuses: Counter[int] = Counter()
        self.sent_bytes = self.keyless_bytes = self.huge_bytes = 0
        self.tls = ssl.create_default_context(cafile=str(authority_file(home)))
        self.headers = signed(home)
        self.no_key = ["flwr-public-key: bm9ib2R5", f"Content-Length: {5 << 20}"]

    def request(self, route: str, body: bytes) -> bytes:
        head = [f"POST /v1/fleet/{route} HTTP/1.1", f"Host: {self.host}", *self.headers]
        head += [f"Content-Length: {len(body)}", "Content-Type: application/protobuf", "", ""]
        return "\r\n".join(head).encode() + body

    async def opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(
            self.host, self.port, ssl=self.tls, server_hostname=self.host, local_addr=(FROM, 0)
        )

    async def send(self, requests: list[bytes], *, rate: float) -> None:
        """Send the requests over and over on one connection, so many a second."""
        at, due = 0, time.monotonic()
        while time.monotonic() < self.end:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError, ssl.SSLError):
                reader, writer = await self.opened()
                with contextlib.closing(writer):
                    while time.monotonic() < self.end:
                        due = max(due + 1 / rate, time.monotonic() - 1)
                        await asyncio.sleep(max(0.0, due - time.monotonic()))
                        request = requests[at % len(requests)]
                        at += 1
                        writer.write(request)
                        self.sent_bytes += len(request)
                        status, _ = await answer(reader)
                        self.statuses[status] += 1

    async def send_once(self, request: bytes) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError, ssl.SSLError):
            reader, writer = await self.opened()
            with contextlib.closing(writer):
                writer.write(request)
                self.statuses[(await answer(reader))[0]] += 1

    async def push_huge(self, question: Received, node: int) -> None:
        """Announce a reply of 300 MiB, and push its chunks as long as they are taken."""
        reply, chunks = small_reply(question), range(_HUGE_BYTES // _CHUNK_BYTES)
        tree = ObjectTree(
            object_id=reply.tree.object_id, children=[ObjectTree(object_id=chunk_name(n)) for n in chunks]
        )
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError, ssl.SSLError):
            reader, writer = await self.opened()
            with contextlib.closing(writer):
                writer.write(self.request("push-messages", announcement(reply, node, tree=tree)))
                status, body = await answer(reader)
                self.statuses[status] += 1
                session = PushMessagesResponse.FromString(body).session_id if status == 200 else ""
                for n in chunks:
                    pushed = PushObjectRequest(
                        node=Node(node_id=node),
                        run_id=question.run,
                        object_id=chunk_name(n),
                        object_content=chunk(n),
                        session_id=session,
                    )
                    request = self.request("push-object", pushed.SerializeToString())
                    writer.write(request)
                    await writer.drain()
                    self.sent_bytes += len(request)
                    status, _ = await answer(reader)
                    self.statuses[status] += 1
                    self.huge_bytes += len(request) if status == 200 else 0

    async def hold_without_key(self) -> None:
        """Begin a body of 5 MB under nobody's key, and send a little at a time."""
        while time.monotonic() < self.end:
            with contextlib.suppress(OSError, ssl.SSLError):
                _, writer = await self.opened()
                with contextlib.closing(writer):
                    lines = (
                        "POST /v1/fleet/push-object HTTP/1.1",
                        f"Host: {self.host}",
                        *self.no_key,
                        "",
                        "",
                    )
                    writer.write("\r\n".join(lines).encode())
                    while time.monotonic() < self.end:
                        writer.write(bytes(64 << 10))
                        await writer.drain()
                        self.keyless_bytes += 64 << 10
                        await asyncio.sleep(0.1)
            await asyncio.sleep(0.5)


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = head.partition("content-length:")[2].partition("\r\n")[0].strip()
    body = await reader.readexactly(int(length)) if length else b""
    if "connection: close" in head:
        raise ConnectionResetError
    return int(head.split()[1]), body


def signed(home: AgentHome) -> list[str]:
    """Headers that are good for five minutes."""
    key = load_ssh_private_key(device_key(home).read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    timestamp = datetime.now(UTC).isoformat()
    signature = key.sign(timestamp.encode(), ec.ECDSA(hashes.SHA256()))
    return [
        f"flwr-public-key: {b64encode(public).decode()}",
        f"flwr-signature: {b64encode(signature).decode()}",
        f"flwr-timestamp: {timestamp}",
    ]


def announcement(reply: TakenApart, node: int, *, tree: ObjectTree | None = None) -> bytes:
    return PushMessagesRequest(
        node=Node(node_id=node),
        messages_list=[reply.message],
        message_object_trees=[tree or reply.tree],
        clientapp_runtime_list=[0.1],
    ).SerializeToString()


def hostile_requests(flood: Flood, question: Received, node: int) -> list[bytes]:
    """One of each kind."""
    reply = small_reply(question)
    names = [sha256(b"%d" % number).hexdigest() for number in range(3000)]
    wide = ObjectTree(object_id=reply.tree.object_id, children=[ObjectTree(object_id=name) for name in names])
    few = ObjectTree(object_id=names[0], children=[ObjectTree(object_id=name) for name in names[1:60]])
    spoofed = PushMessagesRequest.FromString(announcement(reply, node))
    spoofed.messages_list[0].metadata.src_node_id = node ^ 1
    me = Node(node_id=node)
    bodies = [
        ("push-messages", announcement(reply, node)),
        ("push-messages", spoofed.SerializeToString()),
        ("push-messages", announcement(reply, node, tree=wide)),
        ("push-messages", announcement(reply, node, tree=few)),
        ("pull-messages", PullMessagesRequest(node=me).SerializeToString()),
        ("send-node-heartbeat", SendNodeHeartbeatRequest(node=me, heartbeat_interval=30).SerializeToString()),
        ("get-run", GetRunRequest(node=me, run_id=question.run).SerializeToString()),
        ("push-object", PushObjectRequest(node=me, object_content=bytes(1 << 10)).SerializeToString()),
        ("push-messages", b"\xff" * 200),
    ]
    return [flood.request(route, body) for route, body in bodies]


def first_question(connection: FleetConnection, home: AgentHome) -> Received:
    """Greet the server as a device does, and take the first task without answering it."""
    answering = Answering(home, connection)
    while True:
        received = connection.receive()
        if received is None:
            time.sleep(0.5)
        elif received.head.metadata.message_type == "train":
            return received
        else:
            answering.answer(received)


def small_reply(question: Received) -> TakenApart:
    return take_apart(Message(pack("SoftLabelSummary", b"x"), reply_to=question.message))


def chunk(number: int) -> bytes:
    return b"ArrayChunk  %d\x00" % _CHUNK_BYTES + bytes([number]) * _CHUNK_BYTES


@functools.cache
def chunk_name(number: int) -> str:
    return sha256(chunk(number)).hexdigest()


async def run(flood: Flood, question: Received, questions: list[Received], node: int, rate: float) -> None:
    requests = hostile_requests(flood, question, node)
    each = rate / _CONNECTIONS
    started = [flood.send(requests[n % 9 :] + requests[: n % 9], rate=each) for n in range(_CONNECTIONS)]
    started += [flood.hold_without_key() for _ in range(_KEYLESS)]
    work = asyncio.gather(*started)
    turn = 0
    while not work.done():
        await asyncio.sleep(0.5)
        if questions:  # one is answered hugely, the next announced and not sent
            received, turn = questions.pop(), turn + 1
            if turn % 2:
                await flood.push_huge(received, node)
            else:
                body = announcement(small_reply(received), node)
                await flood.send_once(flood.request("push-messages", body))
    await work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("address")
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    home = AgentHome(options.home)
    os.environ[DEVICE_FOLDER_VARIABLE] = str(home.folder)
    with FleetConnection.of(access_of(home)) as connection:
        question = first_question(connection, home)
        print(json.dumps({"event": "begins"}), flush=True)
        flood, questions = Flood(home, options.address, options.seconds), [question]

        def take_questions() -> None:
            while time.monotonic() < flood.end:
                with contextlib.suppress(Exception):  # the flood makes its own connection wait, too
                    if (received := connection.receive()) is not None:
                        questions.append(received)
                time.sleep(1)

        threading.Thread(target=take_questions, daemon=True).start()
        asyncio.run(run(flood, question, questions, connection.node, options.rate))
    document = {
        "event": "ended",
        "statuses": dict(sorted(flood.statuses.items())),
        "sent_bytes": flood.sent_bytes,
        "huge_bytes_taken": flood.huge_bytes,
        "keyless_bytes": flood.keyless_bytes,
    }
    print(json.dumps(document), flush=True)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
