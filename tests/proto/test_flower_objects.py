"""Messages in pieces: put together within a limit, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fedstill_proto.errors import WireError
from fedstill_proto.flower_objects import assemble, take_apart
from fedstill_proto.flower_records import pack
from fedstill_proto.message_pieces import Gathering, TakenApart, object_names
from fedstill_proto.system.bundle import bundle, bundle_digest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.cli.install import install_from_fab
from flwr.common.config import get_fused_config_from_fab
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

KIB = 1 << 10


@pytest.fixture(autouse=True)
def in_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


def apart(content: RecordDict) -> TakenApart:
    message = Message(content, 1, "train")
    return TakenApart.from_frames(take_apart(message).to_frames())


def together(sent: TakenApart, *, limit: int) -> Message:
    gathering = Gathering(sent.tree, size_limit_bytes=limit)
    assert gathering.pull(sent.objects.__getitem__)
    return assemble(sent.tree.object_id, gathering.objects, size_limit_bytes=limit)


def test_a_message_is_the_same_after_its_way_in_pieces() -> None:
    message = together(apart(pack("RoundTask", b"abc")), limit=3)
    assert message.content == pack("RoundTask", b"abc")
    assert message.metadata.message_type == "train"


def test_a_chunk_that_is_named_many_times_counts_each_time() -> None:
    content = pack("RoundTask", bytes(KIB))
    array = content["fedstill"]["RoundTask"]
    array.__dict__["_chunks"] = array.slice_array() * 2048  # 2 MiB once it is put together
    with pytest.raises(WireError, match="in its arrays, more than the limit"):
        together(apart(content), limit=KIB)


def test_no_more_is_pulled_than_the_limit_allows() -> None:
    pulled: list[str] = []

    def pull(name: str) -> bytes:
        pulled.append(name)
        return bytes(2 << 20)

    tree = ObjectTree(object_id="c", children=[ObjectTree(object_id="a"), ObjectTree(object_id="b")])
    with pytest.raises(WireError, match="more than the limit of 1 bytes"):
        Gathering(tree, size_limit_bytes=1).pull(pull)
    assert pulled == ["a"]


def test_what_is_not_there_yet_is_asked_for_again() -> None:
    sent = apart(pack("RoundTask", b"abc"))
    gathering = Gathering(sent.tree, size_limit_bytes=3)
    assert not gathering.pull(lambda name: None if name == sent.tree.object_id else sent.objects[name])
    assert gathering.pull({sent.tree.object_id: sent.objects[sent.tree.object_id]}.__getitem__)


def test_a_large_record_that_is_no_array_is_refused() -> None:
    content = RecordDict({"fedstill": ConfigRecord({"numbers": list(range(1 << 19))})})
    with pytest.raises(WireError, match="around its arrays"):
        together(apart(content), limit=256 << 20)


def test_arrays_in_arrays_are_refused() -> None:
    sent = apart(pack("RoundTask", bytes(KIB)))
    name = next(name for name, data in sent.objects.items() if data.startswith(b"Array "))
    body = json.dumps({"dtype": "uint8", "shape": [1], "stype": "x", "arraychunk_ids": [0] * 9}).encode()
    sent.objects["outer"] = b"Array %s %d\x00" % (name.encode(), len(body)) + body
    with pytest.raises(WireError, match="no chunks"):
        assemble(sent.tree.object_id, sent.objects, size_limit_bytes=KIB)


@pytest.mark.parametrize("damage", [b"", b"\x00", b"Message  0\x00", b"RecordDict x 3\x00{}"])
def test_bytes_that_are_no_message_are_refused(damage: bytes) -> None:
    with pytest.raises(WireError):
        assemble("it", {"it": damage}, size_limit_bytes=KIB)


def test_too_many_and_too_deep_objects_are_refused() -> None:
    many = ObjectTree(object_id="it", children=[ObjectTree(object_id=str(n)) for n in range(64)])
    with pytest.raises(WireError, match="64 objects"):
        object_names(many)
    deep = ObjectTree(object_id="it")
    for _ in range(20):
        deep = ObjectTree(object_id="it", children=[deep])
    with pytest.raises(WireError, match="too deep"):
        object_names(deep)


def test_array_records_of_many_arrays_count_all() -> None:
    arrays = {str(n): Array("uint8", (KIB,), "x", bytes([n]) * KIB) for n in range(8)}
    with pytest.raises(WireError, match="more than the limit"):
        together(apart(RecordDict({"fedstill": ArrayRecord(arrays)})), limit=-(1 << 20) + 4 * KIB)


def test_the_bundle_is_one_that_flower_takes_and_holds_no_code(tmp_path: Path) -> None:
    run = Run.create_empty(run_id=1)
    assert get_fused_config_from_fab(bundle(), run) == {"fedstill-run": ""}
    installed = install_from_fab(bundle(), tmp_path, skip_prompt=True)
    assert not list(installed.rglob("*.py"))
    # Devices know it by this; another one is another contract.
    assert bundle_digest() == "a50f961addaa37d9900c06b78ca9a117663bfae0057b575ed6fb942f71ae8db2"
