"""A server that sends code, bombs and unknown requests; another user of the device who wants its tasks; a
device that replies for another, announces what it never sends, and sends bombs."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from fedstill_client.fleet import round_process
from fedstill_client.fleet.round_process import Order, RoundTooLong
from fedstill_client.fleet.supernode import access_of
from fedstill_client.privacy.refusals import last_refusals
from fedstill_client.store import PrivateStore
from fedstill_proto.codec.api import encode_task
from fedstill_proto.flower_objects import take_apart
from fedstill_proto.flower_records import pack
from fedstill_proto.messages import SummaryKind, SummaryRequest
from fedstill_proto.refusal import Refusal
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_proto.system.bundle import bundle_digest
from fedstill_proto.system.fleet_http import AnsweredError
from fedstill_proto.system.flower_node import FleetConnection, Received
from fedstill_proto.v1 import fleet_pb2
from fedstill_server.rounds.transport import REPLY_TOO_LARGE
from flwr.app import Message

from benchmarks.fleet_on_loopback.processes import wait_until
from tests.client.test_policy import trapped
from tests.system.hostile_fleet import HostileFleet, hostile_fleet

# Greets each device, then sends what each case says; writes the replies down.
SERVER = """\
import json, time
from pathlib import Path
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()
MESSAGES = {messages}
FOLDER = Path({folder!r})

def greeting():
    return RecordDict({{"fedstill": ConfigRecord({{"protocol": {protocol}, "run": "run"}})}})

def bomb():  # one chunk of 5 MiB, named a thousand times: 5 GiB once it is put together
    record = ArrayRecord({{"RoundTask": Array("uint8", (5 << 20,), "fedstill.v1/RoundTask", bytes(5 << 20))}})
    record["RoundTask"].__dict__["_chunks"] = record["RoundTask"].slice_array() * 1000
    return RecordDict({{"fedstill": record}})

def task(name):
    blob = (FOLDER / (name + ".task")).read_bytes()
    array = Array("uint8", (len(blob),), "fedstill.v1/RoundTask", blob)
    return RecordDict({{"fedstill": ArrayRecord({{"RoundTask": array}})}})

def weights():  # a student made for the purpose, and its weights asked back
    return task("weights")

def exact():  # soft labels to the last digit
    return task("exact")

@app.main()
def main(grid, context):
    while not (nodes := list(grid.get_node_ids())):
        time.sleep(0.1)
    sent = []
    for name, content, kind in MESSAGES:
        sent.append(list(grid.push_messages([Message(globals()[content](), nodes[0], kind)])))
    for name, asked in zip(MESSAGES, sent):
        while not (replies := list(grid.pull_messages(asked))):
            time.sleep(0.1)
        reply, name = replies[0], name[0]
        said = {{"code": 0, "reason": ""}}
        if reply.has_error():
            said = {{"code": reply.error.code, "reason": reply.error.reason}}
        else:
            said["device"] = reply.content["fedstill"]["device"]
        (FOLDER / (name + ".partial")).write_text(json.dumps(said))
        (FOLDER / (name + ".partial")).rename(FOLDER / name)
    if "bomb" in [name for name, _, _ in MESSAGES]:
        ask_the_liar(grid, nodes[0])

def ask_the_liar(grid, phone):
    from fedstill_server.fleet.bounded_grid import bounded
    from fedstill_server.rounds.roster import RegisteredNode
    while len(nodes := list(grid.get_node_ids())) < 2:
        time.sleep(0.1)
    registered = {{node: RegisteredNode("", "") for node in nodes}}
    grid = bounded(grid, FOLDER / "fleet", lambda: registered)
    grid.limit_replies(1000)
    liar = next(node for node in nodes if node != phone)
    messages = [Message(greeting(), node, "query.hello") for node in (liar, liar, phone)]
    for number, message in enumerate(messages):
        message.content["fedstill"]["number"] = number
    asked, said = list(grid.push_messages(messages)), {{}}
    while len(said) < 2:
        for reply in grid.pull_messages([name for name in asked if name not in said]):
            said[reply.metadata.reply_to_message_id] = reply.error.code if reply.has_error() else 0
        time.sleep(0.1)
    (FOLDER / "of-liar.partial").write_text(json.dumps([said.get(name) for name in asked]))
    (FOLDER / "of-liar.partial").rename(FOLDER / "of-liar")
"""


FLOAT32 = SoftLabelCodec(Encoding.FLOAT32)
HOSTILE_TASKS = {
    "weights": trapped(SummaryRequest(SummaryKind.PARAMETERS)),
    "exact": trapped(SummaryRequest(SummaryKind.PUBLIC_SET, FLOAT32, np.arange(12))),
}


def server(folder: Path, *messages: tuple[str, str, str]) -> str:
    return SERVER.format(messages=messages, folder=str(folder), protocol=1)


@pytest.fixture(scope="module")
def fleet() -> Iterator[HostileFleet]:
    # A socket's path is short: pytest's own folders are too deep.
    with tempfile.TemporaryDirectory(prefix="fs") as name:
        folder = Path(name)
        installed = server(
            folder,
            ("bomb", "bomb", "train"),
            ("unknown", "greeting", "query.shell"),
            ("weights", "weights", "train"),
            ("exact", "exact", "train"),
            ("greeting", "greeting", "query.hello"),
        )
        for name, asked in HOSTILE_TASKS.items():
            (folder / f"{name}.task").write_bytes(encode_task(asked, codec=FLOAT32))
        with hostile_fleet(folder, installed) as running:
            yield running


@pytest.mark.timeout(120)
def test_a_bundle_with_code_is_refused_and_named_in_log_and_ledger(fleet: HostileFleet) -> None:
    fleet.start_run(server(fleet.folder, ("code", "greeting", "query.hello")))
    said = fleet.reply("code")
    assert said == {"code": Refusal.ANOTHER_APP.code, "reason": "another-app"}
    assert not fleet.marker.exists()
    line = next(line for line in fleet.log().splitlines() if "only the installed app" in line)
    assert bundle_digest()[:16] in line
    with PrivateStore.open(fleet.home) as store:
        assert "only the installed app" in last_refusals(store.ledger)[-1].text
    assert not (fleet.home.folder / "flower" / "apps").exists()  # where Flower unpacks bundles


@pytest.mark.timeout(120)
def test_with_the_known_bundle_a_server_gets_answers_and_nothing_else(fleet: HostileFleet) -> None:
    doors: set[str] = set()
    fleet.control.start_run()

    # While tasks are pending, nobody else can knock anywhere.
    for name in ("bomb", "unknown", *HOSTILE_TASKS, "greeting"):
        while not (fleet.folder / name).exists():
            doors |= set(open_doors(fleet.node.pid))
            fleet.wait_a_moment()
    assert fleet.reply("bomb") == {"code": Refusal.UNREADABLE.code, "reason": "unreadable"}
    assert fleet.reply("unknown") == {"code": Refusal.FAILED.code, "reason": "failed"}
    for name in HOSTILE_TASKS:
        assert fleet.reply(name) == {"code": Refusal.POLICY.code, "reason": "policy"}
    assert fleet.reply("greeting") == {"code": 0, "reason": "", "device": "phone"}
    assert not doors


@pytest.mark.timeout(120)
def test_tasks_that_would_rebuild_examples_are_refused_and_named_in_log_and_ledger(
    fleet: HostileFleet,
) -> None:
    """Attack 2, with the policy of a device that nobody configured; the run is that of the test before."""
    for name in HOSTILE_TASKS:
        assert fleet.reply(name) == {"code": Refusal.POLICY.code, "reason": "policy"}
    said = ("answers: parameters is asked for, the bound is public-set", "encodings: float32 is asked for")
    with PrivateStore.open(fleet.home) as store:
        assert store.ledger.releases() == []
        noted = [one.text for one in last_refusals(store.ledger) if one.run == "abcd1234"]
    log = fleet.log()
    for number, rule in enumerate(said):
        assert rule in noted[number]
        assert rule in log


@pytest.mark.timeout(120)
def test_a_lying_device_holds_nobody_up(fleet: HostileFleet) -> None:
    with FleetConnection.of(access_of(fleet.liar)) as liar:
        announced, bomb = (wait_until(liar.receive, seconds=30, what="a question") for _ in range(2))
        # Whoever it says it is, and whatever else it would have the server keep.
        spoofed = reply_to(announced)
        spoofed.messages_list[0].metadata.src_node_id = liar.node ^ 1
        assert status_of(liar, spoofed) == 403
        other = reply_to(announced)
        other.message_object_trees[0].object_id = "0" * 64
        assert status_of(liar, other) == 403
        wide = reply_to(announced)
        for number in range(64):
            wide.message_object_trees[0].children.add(object_id=f"{number:064}")
        assert status_of(liar, wide) == 400
        large = fleet_pb2.PushObjectRequest(session_id="mine", object_content=bytes(2 << 20), node=wide.node)
        with pytest.raises(AnsweredError) as too_large:
            liar._client.call("push-object", large, fleet_pb2.PushObjectResponse)
        assert too_large.value.status == 413

        assert status_of(liar, reply_to(announced)) == 200  # and nothing of it is sent
        record = pack("SoftLabelSummary", bytes(100 << 10))
        array = record["fedstill"]["SoftLabelSummary"]
        array.__dict__["_chunks"] = array.slice_array() * 100  # 10 MiB once it is put together
        liar.send(take_apart(Message(record, reply_to=bomb.message)), seconds=0.1)
        assert fleet.reply("of-liar") == [None, REPLY_TOO_LARGE, 0]


def reply_to(question: Received) -> fleet_pb2.PushMessagesRequest:
    reply = take_apart(Message(pack("SoftLabelSummary", b"x"), reply_to=question.message))
    node = fleet_pb2.Node(node_id=question.head.metadata.dst_node_id)
    return fleet_pb2.PushMessagesRequest(
        node=node, messages_list=[reply.message], message_object_trees=[reply.tree]
    )


def status_of(liar: FleetConnection, request: fleet_pb2.PushMessagesRequest) -> int:
    try:
        liar._client.call("push-messages", request, fleet_pb2.PushMessagesResponse)
    except AnsweredError as error:
        return error.status
    return 200


def open_doors(pid: int | None) -> Iterator[str]:
    """Sockets of a process and all below it at which another process can connect."""
    if pid is None:
        return
    own = psutil.Process(pid)
    for process in (own, *own.children(recursive=True)):
        try:
            connections = process.net_connections("all")
        except psutil.NoSuchProcess:
            continue
        for connection in connections:
            if connection.status == psutil.CONN_LISTEN:
                yield f"port {connection.laddr}"
            elif isinstance(connection.laddr, str) and connection.laddr and _is_open(connection.laddr):
                yield f"socket {connection.laddr}"


def _is_open(path: str) -> bool:
    try:
        return bool(os.stat(path).st_mode & (stat.S_IRWXG | stat.S_IRWXO))
    except OSError:
        return True  # in the abstract namespace everybody can


def test_a_round_that_outlives_its_bound_is_killed() -> None:
    order, before = Order(node=1, run=1, message_id="0" * 64, objects={}), psutil.Process().children()
    with pytest.raises(RoundTooLong, match=r"0\.05 s"):
        round_process.answer_apart(order, limit_s=0.05)
    assert psutil.Process().children() == before
