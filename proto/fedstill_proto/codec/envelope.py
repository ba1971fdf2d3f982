"""A message's bytes: its protobuf serialization, closed by a checksum (see the contract).

Where the bytes are not those that were sealed, any change within 32 neighbouring bits is refused (a property
of CRC-32), and any other accident passes once in 2**32. An attacker can compute a fitting checksum and gets
as far as the checks of the values.
"""

from __future__ import annotations

import zlib
from typing import TypeVar

from google.protobuf.message import DecodeError

from fedstill_proto.errors import WireError
from fedstill_proto.messages import PROTOCOL_VERSION
from fedstill_proto.v1 import fedstill_pb2 as pb
from fedstill_proto.v1 import secure_sums_pb2 as sums

_TAG = b"\x7d"  # field 15, four bytes
_SEAL_BYTES = 5

Message = TypeVar(
    "Message",
    pb.RoundTask,
    pb.SoftLabelSummary,
    pb.StoredTables,
    sums.SumRoster,
    sums.SumDealtShares,
    sums.SumDelivery,
    sums.SumMaskedNumbers,
    sums.SumSurvivors,
    sums.SumAgreement,
    sums.SumAgreements,
    sums.SumRevealedShares,
    sums.StoredSum,
)


def seal(message: Message) -> bytes:
    """The message's bytes with their checksum."""
    body = message.SerializeToString()
    return body + _checksum(body)


def sealed_bytes(message: Message) -> int:
    """How many bytes `seal` makes of it."""
    return message.ByteSize() + _SEAL_BYTES


def open_sealed(blob: bytes, message: Message, *, size_limit_bytes: int) -> Message:
    """Read sealed bytes into an empty message.

    Args:
        blob: The bytes.
        message: An empty message of the kind that they must be; it is filled.
        size_limit_bytes: The most bytes that are read at all.

    Raises:
        WireError: The bytes are not intact, or hold something that this version does not know.
    """
    name = message.DESCRIPTOR.name
    if len(blob) > size_limit_bytes:
        raise WireError(name, f"{len(blob)} bytes, more than the limit of {size_limit_bytes}")
    body = blob[:-_SEAL_BYTES]
    if not body or blob[-_SEAL_BYTES:] != _checksum(body):
        raise WireError("checksum", "the bytes are not those that were sent")
    try:
        message.ParseFromString(body)
    except DecodeError:
        raise WireError(name, "not a protobuf message of this kind") from None
    message.DiscardUnknownFields()
    # What is left of unknown, repeated or padded fields is shorter than what was sent.
    if message.ByteSize() != len(body):
        raise WireError(name, "fields that this version does not know, or fields sent twice")
    check_version(message.protocol_version)
    return message


def check_version(version: object) -> None:
    """Raise WireError unless this side speaks the version of the protocol."""
    if type(version) is not int or version != PROTOCOL_VERSION:
        problem = f"{version!r}, this side speaks {PROTOCOL_VERSION}; install the same release on both"
        raise WireError("protocol_version", problem)


def check_written_version(version: object) -> None:
    """Raise WireError unless this release reads what it, or an earlier one, wrote to be kept."""
    if type(version) is not int or not 1 <= version <= PROTOCOL_VERSION:
        problem = f"{version!r}, this side reads up to {PROTOCOL_VERSION}; install the newer release"
        raise WireError("protocol_version", problem)


def _checksum(body: bytes) -> bytes:
    return _TAG + zlib.crc32(body).to_bytes(4, "little")
