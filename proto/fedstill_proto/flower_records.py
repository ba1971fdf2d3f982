"""How messages travel in Flower records.

A message is one array of bytes in an ArrayRecord, since Flower cuts arrays into chunks and deduplicates them,
which it does not do with bytes in a ConfigRecord.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from fedstill_proto.checks import (
    MAX_DEVICE_NAME,
    MAX_RELAYS,
    MAX_UINT32,
    check_integer,
    check_name,
    device_name,
)
from fedstill_proto.codec.envelope import check_version
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.generation import FIRST_GENERATION, check_generation
from fedstill_proto.messages import PROTOCOL_VERSION

RECORD = "fedstill"

Kind = Literal["RoundTask", "SoftLabelSummary", "SumQuestion", "SumAnswer", "Letters"]


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
    """Who a device is, and what it has.

    Attributes:
        device: Its name.
        family: That of its student.
        package_version: Of the package in use; 0 where that was never published.
        generation: Of the fleet's configuration that the package belongs to.
        agent: The version of fedstill that it runs; empty where it does not say.
        willing: Whether it would do a round now; the reason stays on the device.
        protocol: The version of the protocol that it speaks.
    """

    device: str
    family: str
    package_version: int = 0
    generation: int = FIRST_GENERATION
    agent: str = ""
    willing: bool = True
    protocol: int = PROTOCOL_VERSION

    def __post_init__(self) -> None:
        check_integer("protocol", self.protocol, 0, 1 << 31)
        if device_name("device", self.device, most=(MAX_RELAYS + 1) * (MAX_DEVICE_NAME + 1)) != self.device:
            raise InvalidValue("device", f"{self.device!r} has blanks around it")
        check_name("family", self.family)
        check_integer("package_version", self.package_version, 0, MAX_UINT32)
        check_generation(self.generation)
        if self.agent:
            check_name("agent", self.agent)


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


def hello_reply(
    device: str,
    family: str,
    *,
    package_version: int = 0,
    generation: int = FIRST_GENERATION,
    agent: str = "",
    willing: bool = True,
) -> RecordDict:
    """The content of the answer to the first message; arguments are those of HelloReply."""
    reply = HelloReply(device, family, package_version, generation, agent, willing)
    return RecordDict({RECORD: ConfigRecord(asdict(reply))})


def read_hello_reply(content: RecordDict) -> HelloReply:
    """Read a device's answer to the first message.

    Raises:
        WireError: It is none, or the device speaks another version of the protocol.
    """
    record = _config(content)
    check_version(record.get("protocol"))
    try:
        return HelloReply(
            device=_text(record, "device"),
            family=_text(record, "family"),
            package_version=_whole(record, "package_version", 0),
            generation=_whole(record, "generation", FIRST_GENERATION),
            agent=_text(record, "agent", ""),
            willing=bool(record.get("willing", True)),
        )
    except InvalidValue as error:
        raise WireError(error.field, error.problem) from None


def _config(content: RecordDict) -> ConfigRecord:
    record = content.get(RECORD)
    if not isinstance(record, ConfigRecord):
        raise WireError(RECORD, "the message holds no config record of this name")
    return record


def _whole(record: ConfigRecord, key: str, default: int) -> int:
    value = record.get(key, default)
    if type(value) is not int:
        raise WireError(key, f"{type(value).__name__}, expected a whole number")
    return value


def _text(record: ConfigRecord, key: str, default: str | None = None) -> str:
    value = record.get(key, default)
    if not isinstance(value, str):
        raise WireError(key, f"{type(value).__name__}, expected a string")
    return value
