"""What server and devices send each other for a sum, as values; fedstill_proto.codec.sum_codec makes them
bytes.

The first step is part of a round's own: its task asks for a sum, and the summary holds the device's SumKeys.

    deal     SumRoster     -> DealtShares     sealed for each neighbour
    mask     SumDelivery   -> MaskedNumbers
    agree    SumSurvivors  -> SumAgreement    a signature of who is in the sum
    reveal   SumAgreements -> RevealedShares

Places are those in the list of enrolled devices, and increase.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedstill_proto.arrays import IntArray
from fedstill_proto.checks import MAX_UINT32, check_integer, check_name
from fedstill_proto.errors import InvalidValue
from fedstill_proto.secure_sums.graph import LEAST_MEMBERS, MOST_MEMBERS
from fedstill_proto.secure_sums.shamir import CHUNKS, PRIME, Shares
from fedstill_proto.secure_sums.sizes import KEY_BYTES, SIGNATURE_BYTES

DIGEST_BYTES = 32


@dataclass(frozen=True)
class SumKeys:
    """What a device offers for one sum.

    Attributes:
        mask_key: A fresh X25519 key, for masks; its private key is shared out.
        share_key: Another, by which neighbours seal what they deal to the device.
        commitment: SHA-256 of the seed of the device's own mask, by which its shares are checked.
        signature: Of all this and the terms, by the device's registered key.
    """

    mask_key: bytes
    share_key: bytes
    commitment: bytes
    signature: bytes

    def __post_init__(self) -> None:
        for name, size in (
            ("mask_key", KEY_BYTES),
            ("share_key", KEY_BYTES),
            ("commitment", DIGEST_BYTES),
            ("signature", SIGNATURE_BYTES),
        ):
            _check_size(name, getattr(self, name), size)
        if self.mask_key == self.share_key:
            raise InvalidValue("share_key", "the same as mask_key")

    def statement(self, terms: bytes) -> bytes:
        """What the signature is of; terms: their digest."""
        return b"fedstill sum keys 1\0" + terms + self.mask_key + self.share_key + self.commitment


@dataclass(frozen=True, eq=False)
class SumRoster:
    """Who is in the group, and the keys of the device's neighbours.

    Attributes:
        run: The run's name.
        round: The round.
        enrolled: The digest of the list of enrolled devices that places refer to.
        members: The places of the group's devices [n].
        keys: The neighbours' keys, by place.
    """

    run: str
    round: int
    enrolled: bytes
    members: IntArray
    keys: tuple[SumKeys, ...]

    def __post_init__(self) -> None:
        _check_header(self.run, self.round)
        _check_size("enrolled", self.enrolled, DIGEST_BYTES)
        check_places("members", self.members)

    def digest(self, terms: bytes) -> bytes:
        """What tells this group from any other; it decides the graph. terms: their digest."""
        members = self.members.astype("<u4").tobytes()
        return hashlib.sha256(b"fedstill sum roster 1\0" + terms + self.enrolled + members).digest()


@dataclass(frozen=True)
class DealtShares:
    """Sealed shares for each neighbour, by place."""

    run: str
    round: int
    sealed: tuple[bytes, ...]

    def __post_init__(self) -> None:
        _check_header(self.run, self.round)
        _check_alike("sealed", self.sealed)


@dataclass(frozen=True, eq=False)
class SumDelivery:
    """Who has dealt [m], and what those of them who are the device's neighbours sealed for it, by place."""

    run: str
    round: int
    members: IntArray
    sealed: tuple[bytes, ...]

    def __post_init__(self) -> None:
        _check_header(self.run, self.round)
        check_places("members", self.members)
        _check_alike("sealed", self.sealed)


@dataclass(frozen=True)
class MaskedNumbers:
    """The device's numbers modulo 2^bits under its masks, as masks.pack packs them."""

    run: str
    round: int
    numbers: bytes

    def __post_init__(self) -> None:
        _check_header(self.run, self.round)


@dataclass(frozen=True, eq=False)
class SumSurvivors:
    """Who is in the sum [s]: those whose masked numbers the server has."""

    run: str
    round: int
    members: IntArray

    def __post_init__(self) -> None:
        _check_header(self.run, self.round)
        check_places("members", self.members)

    def statement(self, roster: bytes) -> bytes:
        """What a device signs; roster: the roster's digest."""
        return b"fedstill sum survivors 1\0" + roster + self.members.astype("<u4").tobytes()


@dataclass(frozen=True)
class SumAgreement:
    """The device's signature of who is in the sum; it never signs another list."""

    run: str
    round: int
    signature: bytes

    def __post_init__(self) -> None:
        _check_header(self.run, self.round)
        _check_size("signature", self.signature, SIGNATURE_BYTES)


@dataclass(frozen=True, eq=False)
class SumAgreements:
    """Neighbours' signatures of the list that the device has signed, with their places [a]."""

    run: str
    round: int
    members: IntArray
    signatures: tuple[bytes, ...]

    def __post_init__(self) -> None:
        _check_header(self.run, self.round)
        check_places("members", self.members, least=1)
        for signature in self.signatures:
            _check_size("signatures", signature, SIGNATURE_BYTES)
        if len(self.signatures) != len(self.members):
            raise InvalidValue("signatures", f"{len(self.signatures)} of {len(self.members)} members")


@dataclass(frozen=True, eq=False)
class RevealedShares:
    """Of each neighbour that has dealt, by place, one share [neighbours, CHUNKS].

    It is that of the seed of the neighbour's own mask where the neighbour is in the sum, and that of the
    private key of its masks where it is not.
    """

    run: str
    round: int
    shares: Shares

    def __post_init__(self) -> None:
        _check_header(self.run, self.round)
        if self.shares.dtype != np.uint16 or self.shares.ndim != 2 or self.shares.shape[1] != CHUNKS:
            raise InvalidValue("shares", f"not a uint16 array [neighbours, {CHUNKS}]")
        if self.shares.size and self.shares.max() >= PRIME:
            raise InvalidValue("shares", f"{self.shares.max()} is not below {PRIME}")


def check_places(name: str, places: IntArray, *, least: int = LEAST_MEMBERS - 1) -> None:
    """Raise InvalidValue unless these are `least` or more increasing places of a list of devices."""
    if not isinstance(places, np.ndarray) or places.dtype != np.int64 or places.ndim != 1:
        raise InvalidValue(name, "not an int64 array [n]")
    if not least <= len(places) <= MOST_MEMBERS:
        raise InvalidValue(name, f"{len(places)} places; a sum has {least} to {MOST_MEMBERS}")
    if places[0] < 0 or places[-1] >= MOST_MEMBERS or not (places[1:] > places[:-1]).all():
        raise InvalidValue(name, "not increasing places of a list of devices")


def _check_header(run: str, round_number: int) -> None:
    check_name("run", run)
    check_integer("round", round_number, 0, MAX_UINT32)


def _check_size(name: str, value: bytes, size: int) -> None:
    if not isinstance(value, bytes) or len(value) != size:
        raise InvalidValue(name, f"not {size} bytes")


def _check_alike(name: str, values: Sequence[bytes]) -> None:
    if len({len(value) for value in values}) > 1:
        raise InvalidValue(name, "of different sizes")
