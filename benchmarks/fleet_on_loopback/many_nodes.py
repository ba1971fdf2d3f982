"""Thousands of nodes in one process, which speak Flower's Fleet API as a device does, each over its own TLS
connection and signed with its own key; nothing is trained.

A node activates itself, sends heartbeats, asks for messages, and fetches, confirms and answers each. Its
summary is drawn from the task and the node's number (`answer`), so that the same fleet can be simulated.

    python benchmarks/fleet_on_loopback/many_nodes.py NODES.json       # as ManyNodes starts it
"""

from __future__ import annotations

import asyncio
import datetime
import json
import random
import signal
import ssl
import subprocess
import sys
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # it is started by its file's name

import numpy as np

# Before flwr: it switches flwr's telemetry and update check off.
import fedstill_proto  # noqa: F401  # isort: skip
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from fedstill_proto.codec.api import TASK_LIMIT_BYTES, decode_task, encode_summary
from fedstill_proto.codec.tensors import Moves
from fedstill_proto.flower_objects import assemble, flower_message, take_apart
from fedstill_proto.flower_records import RECORD, hello_reply, pack, unpack
from fedstill_proto.message_pieces import object_names
from fedstill_proto.messages import PrivateStatistics, RoundTask, SoftLabelSummary
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels
from fedstill_proto.system.steering import COME_BACK_HEADER
from fedstill_proto.v1.fleet_pb2 import (
    ActivateNodeRequest,
    ActivateNodeResponse,
    ConfirmMessageReceivedRequest,
    ConfirmMessageReceivedResponse,
    GetRunRequest,
    GetRunResponse,
    Node,
    PullMessagesRequest,
    PullMessagesResponse,
    PullObjectRequest,
    PullObjectResponse,
    PushMessagesRequest,
    PushMessagesResponse,
    PushObjectRequest,
    PushObjectResponse,
    SendNodeHeartbeatRequest,
    SendNodeHeartbeatResponse,
)
from flwr.app import Message, MetricRecord, RecordDict
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE

_HEARTBEAT_EVERY_S = 30.0
_AGAIN_S = 2.0


def answer(task: RoundTask, number: int) -> RecordDict:
    """The summary of node `number`: soft labels that it draws, as valid as any."""
    rng = np.random.default_rng([number, task.round])
    rows = len(task.request.public_rows)
    labels = rng.dirichlet(np.ones(10), rows).astype(np.float32)
    present = np.arange(10)[: 10 * task.request.class_counts]
    statistics = PrivateStatistics(
        soft_labels=DenseSoftLabels(labels),
        present_classes=present,
        class_examples=rng.integers(1, 9, len(present)),
    )
    summary = SoftLabelSummary(task.run, task.round, task.family, task.request.kind, statistics)
    return pack("SoftLabelSummary", encode_summary(summary, codec=task.request.codec, moves=Moves.of(task)))


def counts(number: int) -> RecordDict:
    """What node `number` answers to an evaluation."""
    found = dict.fromkeys(("personal", "global"), number % 10)
    figures = {f"{name}_correct": correct for name, correct in found.items()}
    figures |= {f"{name}_examples": 10 for name in found}
    figures |= {f"fleet_{name}_correct": correct for name, correct in found.items()}
    return RecordDict({RECORD: MetricRecord(figures)})


def answer_to(kind: str, content: RecordDict, *, name: str, number: int) -> RecordDict:
    """What a node says to a message."""
    if kind == "query.hello":
        return hello_reply(name, "mlp-small")
    if kind == "evaluate":
        return counts(number)
    return answer(decode_task(unpack(content, "RoundTask", size_limit_bytes=TASK_LIMIT_BYTES)), number)


@dataclass(kw_only=True)
class Figures:
    """What a process of nodes has seen.

    Attributes:
        active: Nodes that were activated.
        answered: Messages that were answered, by type.
        requests: How many requests were answered.
        refused: Requests that were not answered with 200, by status; 0 is a connection that broke.
        latencies_ms: Of the newest 20,000 requests.
        first_s, last_s: When the first and the last node were activated, by the wall clock.
    """

    active: int = 0
    answered: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    refused: Counter[int] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)
    first_s: float = 0.0
    last_s: float = 0.0

    def note(self, latency_s: float) -> None:
        """One request more was answered."""
        self.requests += 1
        self.latencies_ms.append(round(1000 * latency_s, 1))
        del self.latencies_ms[:-20_000]


class Refused(Exception):
    """The server answered with another status than 200."""


class SimulatedNode:
    """One node, its key and its connection."""

    def __init__(self, address: str, context: ssl.SSLContext, name: str, number: int, key: bytes) -> None:
        self.name, self.number = name, number
        self._host, _, port = address.rpartition(":")
        self._port, self._context = int(port), context
        loaded = load_pem_private_key(key, None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        self._key = loaded
        self._public = loaded.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._lock = asyncio.Lock()
        self.come_back_s = 0.0
        self.node = Node()
        self._known_run = 0

    async def call(self, route: str, request: Any, figures: Figures) -> bytes:
        """One request; tried again until it is answered."""
        body = request.SerializeToString()
        while True:
            began = time.perf_counter()
            try:
                async with self._lock:
                    status, answered = await self._once(route, body)
            except (OSError, asyncio.IncompleteReadError, ssl.SSLError):
                self._streams, status, answered = None, 0, b""
            if status == 200:
                figures.note(time.perf_counter() - began)
                return answered
            figures.refused[status] += 1
            if status in (400, 403, 404, 413):
                raise Refused(f"{route}: {status}")
            await asyncio.sleep(_AGAIN_S * (1 + random.random()))

    async def _once(self, route: str, body: bytes) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port, ssl=self._context)
        reader, writer = self._streams
        now = datetime.datetime.now(datetime.UTC).isoformat()
        signature = self._key.sign(now.encode("ascii"), ec.ECDSA(hashes.SHA256()))
        head = (
            f"POST /v1/fleet/{route} HTTP/1.1\r\nhost: {self._host}\r\n"
            f"content-type: {PROTOBUF_MEDIA_TYPE}\r\naccept: {PROTOBUF_MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\n{TIMESTAMP_HEADER}: {now}\r\n"
            f"{FLEET_HTTP_PUBLIC_KEY_HEADER}: {b64encode(self._public).decode()}\r\n"
            f"{FLEET_HTTP_SIGNATURE_HEADER}: {b64encode(signature).decode()}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        answered = await reader.readexactly(int(headers.get("content-length", "0")))
        self.come_back_s = float(headers.get(COME_BACK_HEADER, "0"))
        if headers.get("connection", "") == "close":
            writer.close()
            self._streams = None
        return int(lines[0].split()[1]), answered

    async def live(self, figures: Figures, *, look_every_s: float) -> None:
        """Take part until the process ends."""
        await asyncio.sleep(random.random() * min(look_every_s, 5.0))
        request = ActivateNodeRequest(public_key=self._public, heartbeat_interval=_HEARTBEAT_EVERY_S)
        activated = ActivateNodeResponse.FromString(await self.call("activate-node", request, figures))
        self.node = Node(node_id=activated.node_id)
        figures.active += 1
        figures.first_s = figures.first_s or time.time()
        figures.last_s = time.time()
        beating = asyncio.create_task(self._beat(figures))
        while not beating.done():
            try:
                if not await self._answer_next(figures):
                    await asyncio.sleep(max(self.come_back_s, look_every_s * (0.5 + random.random())))
            except Refused:
                await asyncio.sleep(_AGAIN_S)
        beating.result()

    async def _beat(self, figures: Figures) -> None:
        while True:
            await asyncio.sleep(_HEARTBEAT_EVERY_S * (0.8 + 0.2 * random.random()))
            request = SendNodeHeartbeatRequest(node=self.node, heartbeat_interval=_HEARTBEAT_EVERY_S)
            answered = await self.call("send-node-heartbeat", request, figures)
            if not SendNodeHeartbeatResponse.FromString(answered).success:
                figures.refused[-1] += 1

    async def _answer_next(self, figures: Figures) -> bool:
        request = PullMessagesRequest(node=self.node)
        pulled = PullMessagesResponse.FromString(await self.call("pull-messages", request, figures))
        if not pulled.messages_list or not pulled.message_object_trees:
            return False
        message, tree = flower_message(pulled.messages_list[0]), pulled.message_object_trees[0]
        run = message.metadata.run_id
        if run != self._known_run:
            GetRunResponse.FromString(
                await self.call("get-run", GetRunRequest(node=self.node, run_id=run), figures)
            )
            self._known_run = run
        objects = await self._objects(tree, run, figures)
        content = assemble(tree.object_id, objects, size_limit_bytes=TASK_LIMIT_BYTES).content
        kind = message.metadata.message_type
        reply = answer_to(kind, content, name=self.name, number=self.number)
        await self._send(Message(reply, reply_to=message), run, figures)
        figures.answered[kind] += 1
        return True

    async def _objects(self, tree: Any, run: int, figures: Figures) -> dict[str, bytes]:
        objects = {}
        for name in object_names(tree):
            request = PullObjectRequest(node=self.node, run_id=run, object_id=name)
            while True:
                pulled = PullObjectResponse.FromString(await self.call("pull-object", request, figures))
                if pulled.object_available or not pulled.object_found:
                    break
                await asyncio.sleep(_AGAIN_S)
            objects[name] = pulled.object_content
        confirmed = ConfirmMessageReceivedRequest(
            node=self.node, run_id=run, message_object_id=tree.object_id
        )
        ConfirmMessageReceivedResponse.FromString(
            await self.call("confirm-message-received", confirmed, figures)
        )
        return objects

    async def _send(self, reply: Message, run: int, figures: Figures) -> None:
        apart = take_apart(reply)
        request = PushMessagesRequest(
            node=self.node,
            messages_list=[apart.message],
            message_object_trees=[apart.tree],
            clientapp_runtime_list=[0.0],
        )
        asked = PushMessagesResponse.FromString(await self.call("push-messages", request, figures))
        for name in apart.objects.keys() & set(asked.objects_to_push):
            pushed = PushObjectRequest(
                node=self.node,
                run_id=run,
                object_id=name,
                object_content=apart.objects[name],
                session_id=asked.session_id,
            )
            PushObjectResponse.FromString(await self.call("push-object", pushed, figures))


@dataclass
class ManyNodes:
    """A process of nodes; `figures` reads what it has seen so far."""

    folder: Path
    process: subprocess.Popen[bytes]

    @classmethod
    def start(
        cls,
        folder: Path,
        *,
        address: str,
        authority: Path,
        keys: Sequence[tuple[str, int, bytes]],
        look_every_s: float,
    ) -> ManyNodes:
        """Start nodes: each has a name, a number and a private key (PEM)."""
        folder.mkdir(parents=True)
        rows = [[name, number, key.decode()] for name, number, key in keys]
        words = {"address": address, "authority": str(authority), "look_every_s": look_every_s, "nodes": rows}
        (folder / "nodes.json").write_text(json.dumps(words))
        with (folder / "log").open("wb") as log:
            command = [sys.executable, __file__, str(folder / "nodes.json")]
            process = subprocess.Popen(command, stdout=log, stderr=log)
        return cls(folder, process)

    def figures(self) -> Figures:
        """What the nodes have seen, a second ago at most."""
        file = self.folder / "figures.json"
        words = json.loads(file.read_text()) if file.exists() else {}
        words["answered"] = Counter(words.get("answered", {}))
        words["refused"] = Counter({int(code): count for code, count in words.get("refused", {}).items()})
        return Figures(**words)

    def end(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.wait()


def new_key() -> bytes:
    """A private key of a node, PEM."""
    key = ec.generate_private_key(ec.SECP384R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


async def live(file: Path) -> None:
    """Live as the nodes of a file, until SIGTERM."""
    words = json.loads(file.read_text())
    context = ssl.create_default_context(cafile=words["authority"])
    figures, look_every_s = Figures(), words["look_every_s"]
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    nodes = [
        SimulatedNode(words["address"], context, name, number, key.encode())
        for name, number, key in words["nodes"]
    ]
    living = [asyncio.create_task(node.live(figures, look_every_s=look_every_s)) for node in nodes]
    while not ended.is_set():
        for task in living:
            if task.done():
                task.result()
        replaced = file.with_name("figures.new")
        replaced.write_text(json.dumps(vars(figures)))
        replaced.rename(file.with_name("figures.json"))
        await asyncio.sleep(1.0)
    for task in living:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(live(Path(sys.argv[1])))
