"""The messages of a sum to bytes and back (see fedstill_proto.secure_sums.messages).

Whoever decodes knows the run and the round that a message must be of. Which numbers, places and shares fit
together is for the device and the server to say, who know the group.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypedDict, TypeVar

import numpy as np

from fedstill_proto.arrays import IntArray
from fedstill_proto.codec.envelope import open_sealed, seal
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.messages import PROTOCOL_VERSION
from fedstill_proto.secure_sums.graph import MOST_MEMBERS
from fedstill_proto.secure_sums.messages import (
    DealtShares,
    MaskedNumbers,
    RevealedShares,
    SumAgreement,
    SumAgreements,
    SumDelivery,
    SumKeys,
    SumRoster,
    SumSurvivors,
)
from fedstill_proto.secure_sums.sealing import SEALED_BYTES
from fedstill_proto.secure_sums.shamir import CHUNKS, SHARE_BYTES
from fedstill_proto.secure_sums.sizes import SIGNATURE_BYTES
from fedstill_proto.v1 import secure_sums_pb2 as pb

SUM_LIMIT_BYTES = 64 << 20
"""More than any message of a sum has."""

_Message = TypeVar(
    "_Message",
    pb.SumRoster,
    pb.SumDealtShares,
    pb.SumDelivery,
    pb.SumMaskedNumbers,
    pb.SumSurvivors,
    pb.SumAgreement,
    pb.SumAgreements,
    pb.SumRevealedShares,
)


def encode_keys(keys: SumKeys) -> pb.SumKeys:
    """The keys as a part of another message."""
    return pb.SumKeys(**vars(keys))


def decode_keys(message: pb.SumKeys) -> SumKeys:
    """Read `encode_keys`; raises InvalidValue."""
    return SumKeys(message.mask_key, message.share_key, message.commitment, message.signature)


def encode_roster(value: SumRoster) -> bytes:
    """Encode a roster."""
    return seal(
        pb.SumRoster(
            **_header(value),
            enrolled=value.enrolled,
            members=_bits(value.members),
            keys=map(encode_keys, value.keys),
        )
    )


def decode_roster(blob: bytes, *, run: str, round: int) -> SumRoster:
    """Decode a roster; raises WireError, as all decoders here."""
    message = _opened(blob, pb.SumRoster(), run, round)
    with _as_wire_errors():
        keys = tuple(map(decode_keys, message.keys))
        return SumRoster(message.run, message.round, message.enrolled, _places(message.members), keys)


def encode_dealt(value: DealtShares) -> bytes:
    """Encode dealt shares."""
    return seal(pb.SumDealtShares(**_header(value), sealed=b"".join(value.sealed)))


def decode_dealt(blob: bytes, *, run: str, round: int) -> DealtShares:
    """Decode dealt shares."""
    message = _opened(blob, pb.SumDealtShares(), run, round)
    with _as_wire_errors():
        return DealtShares(message.run, message.round, _cut("sealed", message.sealed, SEALED_BYTES))


def encode_delivery(value: SumDelivery) -> bytes:
    """Encode a delivery."""
    members, sealed = _bits(value.members), b"".join(value.sealed)
    return seal(pb.SumDelivery(**_header(value), members=members, sealed=sealed))


def decode_delivery(blob: bytes, *, run: str, round: int) -> SumDelivery:
    """Decode a delivery."""
    message = _opened(blob, pb.SumDelivery(), run, round)
    with _as_wire_errors():
        sealed = _cut("sealed", message.sealed, SEALED_BYTES)
        return SumDelivery(message.run, message.round, _places(message.members), sealed)


def encode_masked(value: MaskedNumbers) -> bytes:
    """Encode masked numbers."""
    return seal(pb.SumMaskedNumbers(**_header(value), numbers=value.numbers))


def decode_masked(blob: bytes, *, run: str, round: int) -> MaskedNumbers:
    """Decode masked numbers."""
    message = _opened(blob, pb.SumMaskedNumbers(), run, round)
    return MaskedNumbers(message.run, message.round, message.numbers)


def encode_survivors(value: SumSurvivors) -> bytes:
    """Encode who is in the sum."""
    return seal(pb.SumSurvivors(**_header(value), members=_bits(value.members)))


def decode_survivors(blob: bytes, *, run: str, round: int) -> SumSurvivors:
    """Decode who is in the sum."""
    message = _opened(blob, pb.SumSurvivors(), run, round)
    with _as_wire_errors():
        return SumSurvivors(message.run, message.round, _places(message.members))


def encode_agreement(value: SumAgreement) -> bytes:
    """Encode a signature of who is in the sum."""
    return seal(pb.SumAgreement(**_header(value), signature=value.signature))


def decode_agreement(blob: bytes, *, run: str, round: int) -> SumAgreement:
    """Decode a signature of who is in the sum."""
    message = _opened(blob, pb.SumAgreement(), run, round)
    with _as_wire_errors():
        return SumAgreement(message.run, message.round, message.signature)


def encode_agreements(value: SumAgreements) -> bytes:
    """Encode neighbours' signatures."""
    members, signatures = _bits(value.members), b"".join(value.signatures)
    return seal(pb.SumAgreements(**_header(value), members=members, signatures=signatures))


def decode_agreements(blob: bytes, *, run: str, round: int) -> SumAgreements:
    """Decode neighbours' signatures."""
    message = _opened(blob, pb.SumAgreements(), run, round)
    with _as_wire_errors():
        signatures = _cut("signatures", message.signatures, SIGNATURE_BYTES)
        return SumAgreements(message.run, message.round, _places(message.members), signatures)


def encode_revealed(value: RevealedShares) -> bytes:
    """Encode revealed shares."""
    return seal(pb.SumRevealedShares(**_header(value), shares=value.shares.astype("<u2").tobytes()))


def decode_revealed(blob: bytes, *, run: str, round: int) -> RevealedShares:
    """Decode revealed shares."""
    message = _opened(blob, pb.SumRevealedShares(), run, round)
    if len(message.shares) % SHARE_BYTES:
        raise WireError("shares", f"{len(message.shares)} bytes, not {SHARE_BYTES} each")
    with _as_wire_errors():
        shares = np.frombuffer(message.shares, "<u2").reshape(-1, CHUNKS).astype(np.uint16)
        return RevealedShares(message.run, message.round, shares)


class _Header(TypedDict):
    protocol_version: int
    run: str
    round: int


_Value = (
    SumRoster
    | DealtShares
    | SumDelivery
    | MaskedNumbers
    | SumSurvivors
    | SumAgreement
    | SumAgreements
    | RevealedShares
)


def _header(value: _Value) -> _Header:
    return _Header(protocol_version=PROTOCOL_VERSION, run=value.run, round=value.round)


def _opened(blob: bytes, message: _Message, run: str, round: int) -> _Message:
    """The message, which must be of this run and round."""
    message = open_sealed(blob, message, size_limit_bytes=SUM_LIMIT_BYTES)
    if message.run != run:
        raise WireError("run", f"{message.run[:64]!r}, expected {run!r}")
    if message.round != round:
        raise WireError("round", f"{message.round}, expected {round}")
    return message


@contextmanager
def _as_wire_errors() -> Iterator[None]:
    try:
        yield
    except InvalidValue as error:
        raise WireError(error.field, error.problem) from None


def _bits(places: IntArray) -> bytes:
    """A bit for each place, the lowest first, as many bytes as the last one needs."""
    marks = np.zeros(int(places[-1]) + 1, np.uint8)
    marks[places] = 1
    return np.packbits(marks, bitorder="little").tobytes()


def _places(bits: bytes) -> IntArray:
    if not bits or bits[-1] == 0 or len(bits) > -(-MOST_MEMBERS // 8):
        raise WireError("members", f"{len(bits)} bytes are not the bits of places in a list")
    return np.flatnonzero(np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")).astype(np.int64)


def _cut(name: str, joined: bytes, size: int) -> tuple[bytes, ...]:
    if len(joined) % size:
        raise WireError(name, f"{len(joined)} bytes, not {size} each")
    return tuple(joined[at : at + size] for at in range(0, len(joined), size))
