from __future__ import annotations

import pytest
from fedstill_proto import flower_records
from fedstill_proto.errors import InvalidValue, WireError
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from tests.proto.wire_samples import refused_field


def record(**entries: Array) -> RecordDict:
    return RecordDict({"fedstill": ArrayRecord(dict(entries))})


def array(blob: bytes = b"abc", *, dtype: str = "uint8", kind: str = "RoundTask", size: int = 3) -> Array:
    return Array(dtype, (size,), f"fedstill.v1/{kind}", blob)


def test_bytes_survive_a_record() -> None:
    packed = flower_records.pack("RoundTask", b"abc")
    assert packed["fedstill"]["RoundTask"] == array()
    assert flower_records.unpack(packed, "RoundTask", size_limit_bytes=3) == b"abc"


@pytest.mark.parametrize(
    "content",
    [
        RecordDict(),
        RecordDict({"fedstill": ConfigRecord({"RoundTask": b"abc"})}),
        RecordDict({"other": ArrayRecord({"RoundTask": array()})}),
        record(),
        record(SoftLabelSummary=array()),
        record(RoundTask=array(), more=array()),
        record(RoundTask=array(kind="SoftLabelSummary")),
        record(RoundTask=array(dtype="float32")),
        record(RoundTask=array(size=4)),
        record(RoundTask=array(b"abcd", size=4)),
        record(RoundTask=Array("uint8", (1, 3), "fedstill.v1/RoundTask", b"abc")),
    ],
)
def test_any_other_record_is_refused(content: RecordDict) -> None:
    field = refused_field(lambda: flower_records.unpack(content, "RoundTask", size_limit_bytes=3))
    assert field == "RoundTask"


def test_the_greeting() -> None:
    assert flower_records.read_hello(flower_records.hello("0a1b2c3d")) == flower_records.Hello("0a1b2c3d")
    reply = flower_records.hello_reply("Writer 4, Zürich", "mlp-small")
    assert flower_records.read_hello_reply(reply) == flower_records.HelloReply(
        "Writer 4, Zürich", "mlp-small"
    )


def config(**fields: int | str | bool) -> RecordDict:
    return RecordDict({"fedstill": ConfigRecord({**fields})})


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (RecordDict(), "fedstill"),
        (record(RoundTask=array()), "fedstill"),
        (config(), "protocol_version"),
        (config(protocol=2, device="d", family="cnn"), "protocol_version"),
        (config(protocol=True, device="d", family="cnn"), "protocol_version"),
        (config(protocol=1, family="cnn"), "device"),
        (config(protocol=1, device="", family="cnn"), "device"),
        (config(protocol=1, device="x" * 326, family="cnn"), "device"),
        (config(protocol=1, device="a\nb", family="cnn"), "device"),
        (config(protocol=1, device="d", family="../cnn"), "family"),
        (config(protocol=1, device="d", family=3), "family"),
    ],
)
def test_a_bad_reply_is_refused_by_field(content: RecordDict, field: str) -> None:
    assert refused_field(lambda: flower_records.read_hello_reply(content)) == field


def test_a_bad_greeting_is_refused_by_field() -> None:
    assert refused_field(lambda: flower_records.read_hello(config(protocol=2, run="r"))) == "protocol_version"
    assert refused_field(lambda: flower_records.read_hello(config(protocol=1))) == "run"
    assert refused_field(lambda: flower_records.read_hello(config(protocol=1, run="a/b"))) == "run"
    with pytest.raises(InvalidValue, match=r"^run: "):
        flower_records.hello("")


def test_a_version_mismatch_says_what_to_do() -> None:
    with pytest.raises(WireError, match="this side speaks 1; install the same release on both"):
        flower_records.read_hello(config(protocol=2, run="r"))
