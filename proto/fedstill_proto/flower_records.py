"""How messages travel in Flower records.

A message is one array of bytes in an ArrayRecord, since Flower cuts arrays into chunks and deduplicates them,
which it does not do with bytes in a ConfigRecord.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from fedstill_proto.checks import check_integer, check_name
from fedstill_proto.codec.envelope import check_version
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.messages import PROTOCOL_VERSION

RECORD = "fedstill"
MAX_DEVICE_NAME = 128

Kind = Literal["RoundTask", "SoftLabelSummary", "SumQuestion", "SumAnswer"]


def pack(kind: Kind, blob: bytes) -> RecordDict:
    """A record dictionary with the bytes of a message; Flower needs an own one for each node."""
    array = Array("uint8", (len(blob),), f"fedstill.v1/{kind}", blob)
    return RecordDict({RECORD: ArrayRecord({kind: array})})


def unpack(content: RecordDict, kind: Kind, *, size_limit_bytes: int) -> bytes:
    """The bytes that `pack` put in; raises WireError for any other content."""
    record = content.get(RECORD)
    if not isinstance(record, ArrayRecord) or set(record) != {kind}:
        raise WireError(kind, f"the message holds no array record {RECORD!r} with this one entry")
    array = record[kind]
    if array.stype != f"fedstill.v1/{kind}" or array.dtype != "uint8":
        raise WireError(kind, f"an array of type {array.stype[:64]!r}, expected 'fedstill.v1/{kind}'")
    if len(array.data) > size_limit_bytes:
        raise WireError(kind, f"{len(array.data)} bytes, more than the limit of {size_limit_bytes}")
    if tuple(array.shape) != (len(array.data),):
        raise WireError(kind, f"{len(array.data)} bytes in an array of shape {array.shape}")
    return array.data


@dataclass(frozen=True)
class Hello:
    """The server's first message to a node."""

    run: str
    protocol: int = PROTOCOL_VERSION

    def __post_init__(self) -> None:
        check_integer("protocol", self.protocol, 0, 1 << 31)
        check_name("run", self.run)


@dataclass(frozen=True)
class HelloReply:
    """Who a device is."""

    device: str
    family: str
    protocol: int = PROTOCOL_VERSION

    def __post_init__(self) -> None:
        check_integer("protocol", self.protocol, 0, 1 << 31)
        if not (isinstance(self.device, str) and 1 <= len(self.device) <= MAX_DEVICE_NAME):
            raise InvalidValue("device", f"not a name of 1 to {MAX_DEVICE_NAME} characters")
        if not self.device.isprintable():
            raise InvalidValue("device", f"{self.device!r} holds characters that cannot be printed")
        check_name("family", self.family)


def hello(run: str) -> RecordDict:
    """The content of the first message to a node."""
    greeting = Hello(run)
    return RecordDict({RECORD: ConfigRecord({"protocol": greeting.protocol, "run": greeting.run})})


def read_hello(content: RecordDict) -> Hello:
    """Read the server's first message.

    Raises:
        WireError: It is none, or the server speaks another version of the protocol.
    """
    record = _config(content)
    check_version(record.get("protocol"))
    try:
        return Hello(run=_text(record, "run"))
    except InvalidValue as error:
        raise WireError(error.field, error.problem) from None


def hello_reply(device: str, family: str) -> RecordDict:
    """The content of the answer to the first message."""
    reply = HelloReply(device, family)
    record = ConfigRecord({"protocol": reply.protocol, "device": reply.device, "family": reply.family})
    return RecordDict({RECORD: record})


def read_hello_reply(content: RecordDict) -> HelloReply:
    """Read a device's answer to the first message.

    Raises:
        WireError: It is none, or the device speaks another version of the protocol.
    """
    record = _config(content)
    check_version(record.get("protocol"))
    try:
        return HelloReply(device=_text(record, "device"), family=_text(record, "family"))
    except InvalidValue as error:
        raise WireError(error.field, error.problem) from None


def _config(content: RecordDict) -> ConfigRecord:
    record = content.get(RECORD)
    if not isinstance(record, ConfigRecord):
        raise WireError(RECORD, "the message holds no config record of this name")
    return record


def _text(record: ConfigRecord, key: str) -> str:
    value = record.get(key)
    if not isinstance(value, str):
        raise WireError(key, f"{type(value).__name__}, expected a string")
    return value
