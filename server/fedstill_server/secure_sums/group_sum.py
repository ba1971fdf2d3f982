"""One group's sum on the server: what it asks each device in each step, and what it makes of the answers.

The steps are those of fedstill_proto.secure_sums. Whoever does not answer a step in time, or answers
something that cannot be, is left out of all that follow; the sum is over those whose masked numbers arrived.
Of each of them the seed of its own mask is put together from its neighbours' shares, and of each who dealt
shares and sent no numbers the key of its masks, which its neighbours have added and nobody else takes away
again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from fedstill_proto.arrays import IntArray
from fedstill_proto.codec.sum_codec import (
    decode_agreement,
    decode_dealt,
    decode_masked,
    decode_revealed,
    encode_agreements,
    encode_delivery,
    encode_roster,
    encode_survivors,
)
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.secure_sums.enrolled import EnrolledDevices, is_signed
from fedstill_proto.secure_sums.errors import SumError
from fedstill_proto.secure_sums.graph import SumGraph
from fedstill_proto.secure_sums.masks import (
    Masked,
    mask_seed,
    packed_bytes,
    private_key,
    public_key,
    stream,
    unmasked,
    unpack,
)
from fedstill_proto.secure_sums.messages import SumAgreements, SumDelivery, SumKeys, SumRoster, SumSurvivors
from fedstill_proto.secure_sums.sealing import SEALED_BYTES
from fedstill_proto.secure_sums.shamir import join
from fedstill_proto.secure_sums.sizes import MOST_BITS
from fedstill_proto.secure_sums.terms import SumTerms


class SumFailed(SumError):
    """Too few devices are left for a group's sum; nothing was learned from it."""


@dataclass(frozen=True, eq=False)
class OpenedSum:
    """What the server learns of a group.

    Attributes:
        steps: The sum of the devices' numbers, with the noise that is in them [numbers].
        members: The places of the devices that are in it.
        dealt: How many devices had dealt, which decides how much noise each has added.
    """

    steps: IntArray
    members: IntArray
    dealt: int


@dataclass
class GroupSum:
    """The sum of one group.

    Attributes:
        terms: What is summed.
        enrolled: The signed list of the fleet's devices, which places refer to.
        keys: What devices have offered, by place.
    """

    terms: SumTerms
    enrolled: EnrolledDevices
    keys: Mapping[int, SumKeys]
    left_out: dict[int, str] = field(default_factory=dict)
    _sealed: dict[int, dict[int, bytes]] = field(default_factory=dict)  # by dealer, then by neighbour
    _masked: dict[int, Masked] = field(default_factory=dict)
    _signatures: dict[int, bytes] = field(default_factory=dict)
    _revealed: dict[int, dict[int, IntArray]] = field(default_factory=dict)  # by holder, then by neighbour

    def __post_init__(self) -> None:
        """Keep the keys that are signed; raises SumFailed where no group of so many is safe."""
        agreed = self.terms.digest
        for place, keys in self.keys.items():
            if not is_signed(self.enrolled.devices[place].public_key, keys.signature, keys.statement(agreed)):
                self.left_out[place] = "its keys are not signed by the key it is enrolled with"
        self._members = np.array(sorted(self.keys.keys() - self.left_out.keys()), np.int64)
        try:
            self._graph: SumGraph = self.terms.summing.graph(len(self._members))
        except InvalidValue as error:
            raise SumFailed(str(error)) from None
        roster = SumRoster(self.terms.run, self.terms.round, self.enrolled.digest, self._members, ())
        self._digest = roster.digest(agreed)
        self._neighbours = {
            place: self._members[self._graph.neighbours_of(at, seed=self._digest)].tolist()
            for at, place in enumerate(self._members.tolist())
        }
        self._dealt = self._survivors = np.empty(0, np.int64)

    @property
    def graph(self) -> SumGraph:
        """Who is whose neighbour."""
        return self._graph

    @property
    def answer_limit_bytes(self) -> int:
        """As much as a good answer to any step can take."""
        shares = self._graph.neighbours * SEALED_BYTES  # more than as many revealed ones
        return 1024 + max(shares, packed_bytes(self.terms.numbers, bits=MOST_BITS))

    def rosters(self) -> dict[int, bytes]:
        """What each device is asked in the step `deal`."""
        header = (self.terms.run, self.terms.round, self.enrolled.digest, self._members)
        return {
            place: encode_roster(SumRoster(*header, tuple(self.keys[each] for each in neighbours)))
            for place, neighbours in self._neighbours.items()
        }

    def take_dealt(self, place: int, blob: bytes) -> None:
        """A device's answer; raises WireError where it is none."""
        dealt = decode_dealt(blob, run=self.terms.run, round=self.terms.round)
        neighbours = self._neighbours[place]
        if len(dealt.sealed) != len(neighbours):
            raise WireError("sealed", f"{len(dealt.sealed)} shares for {len(neighbours)} neighbours")
        self._sealed[place] = dict(zip(neighbours, dealt.sealed, strict=True))

    def deliveries(self) -> dict[int, bytes]:
        """What each device that has dealt is asked in the step `mask`; raises SumFailed."""
        self._dealt = np.array(sorted(self._sealed), np.int64)
        self._check_enough(len(self._dealt), self._least, "have dealt")
        run, number, asked = self.terms.run, self.terms.round, {}
        for place in self._sealed:
            dealers = [each for each in self._neighbours[place] if each in self._sealed]
            if len(dealers) < self._graph.threshold:
                self.left_out[place] = "too few of its neighbours have dealt"
                continue
            sealed = tuple(self._sealed[each][place] for each in dealers)
            asked[place] = encode_delivery(SumDelivery(run, number, self._dealt, sealed))
        return asked

    def take_masked(self, place: int, blob: bytes) -> None:
        """A device's answer; raises WireError where it is none."""
        sent = decode_masked(blob, run=self.terms.run, round=self.terms.round)
        try:
            bits = self.terms.bits(len(self._dealt))
            self._masked[place] = unpack(sent.numbers, self.terms.numbers, bits=bits)
        except InvalidValue as error:
            raise WireError(error.field, error.problem) from None

    def survivors(self) -> dict[int, bytes]:
        """What each device whose numbers are there is asked in the step `agree`; raises SumFailed."""
        self._survivors = np.array(sorted(self._masked), np.int64)
        least = self.terms.summing.least_survivors(len(self._dealt))
        self._check_enough(len(self._survivors), least, "have sent their numbers")
        question = encode_survivors(self._list)
        return dict.fromkeys(self._survivors.tolist(), question)

    def take_agreement(self, place: int, blob: bytes) -> None:
        """A device's answer; raises WireError where it is none."""
        agreement = decode_agreement(blob, run=self.terms.run, round=self.terms.round)
        device = self.enrolled.devices[place]
        if not is_signed(device.public_key, agreement.signature, self._list.statement(self._digest)):
            raise WireError("signature", "not the device's, of this list of survivors")
        self._signatures[place] = agreement.signature

    def agreements(self) -> dict[int, bytes]:
        """What each device that has signed is asked in the step `reveal`: as many signatures as it needs."""
        asked, threshold = {}, self._graph.threshold
        for place in sorted(self._signatures):
            signed = [each for each in self._neighbours[place] if each in self._signatures][:threshold]
            if len(signed) < threshold:
                self.left_out[place] = "too few of its neighbours have signed"
                continue
            signatures = tuple(self._signatures[each] for each in signed)
            header = (self.terms.run, self.terms.round, np.array(signed, np.int64))
            asked[place] = encode_agreements(SumAgreements(*header, signatures))
        return asked

    def take_revealed(self, place: int, blob: bytes) -> None:
        """A device's answer; raises WireError where it is none."""
        revealed = decode_revealed(blob, run=self.terms.run, round=self.terms.round)
        of = [each for each in self._neighbours[place] if each in self._sealed]
        if len(revealed.shares) != len(of):
            raise WireError("shares", f"{len(revealed.shares)} shares of {len(of)} neighbours")
        self._revealed[place] = dict(zip(of, revealed.shares.astype(np.int64), strict=True))

    def opened(self) -> OpenedSum:
        """The sum; raises SumFailed where shares are missing, or do not belong to one secret."""
        bits = self.terms.bits(len(self._dealt))
        total = np.zeros(self.terms.numbers, np.uint32)
        for place, numbers in self._masked.items():
            total += numbers
            total -= stream(self._self_seed(place), self.terms.numbers)
        gone = [place for place in self._sealed if place not in self._masked]
        for place in gone:
            private = self._mask_private(place)
            for neighbour in self._neighbours[place]:
                if neighbour in self._masked:
                    mask = self._mask_of(private, place, neighbour)
                    # What the neighbour added to its numbers, or took away.
                    total += -mask if neighbour < place else mask
        return OpenedSum(unmasked(total, bits=bits), self._survivors, len(self._dealt))

    def _self_seed(self, place: int) -> bytes:
        seed = self._joined(place)
        if hashlib.sha256(seed).digest() != self.keys[place].commitment:
            raise SumFailed(
                f"{self._name(place)}: its neighbours' shares are not of the seed it committed to"
            )
        return seed

    def _mask_private(self, place: int) -> X25519PrivateKey:
        private = private_key(self._joined(place))
        if public_key(private) != self.keys[place].mask_key:
            raise SumFailed(f"{self._name(place)}: its neighbours' shares are not of the key it offered")
        return private

    def _mask_of(self, private: X25519PrivateKey, place: int, neighbour: int) -> Masked:
        public, pair = self.keys[neighbour].mask_key, (place, neighbour)
        try:
            seed = mask_seed(private, public, roster=self._digest, pair=pair)
        except InvalidValue as error:
            raise SumFailed(f"{self._name(neighbour)}: {error}") from None
        return stream(seed, self.terms.numbers)

    def _joined(self, place: int) -> bytes:
        holders = [each for each in self._neighbours[place] if place in self._revealed.get(each, {})]
        threshold = self._graph.threshold
        self._check_enough(len(holders), threshold, f"have revealed shares of {self._name(place)}")
        chosen = holders[:threshold]
        shares = np.stack([self._revealed[each][place] for each in chosen])
        try:
            return join(np.array(chosen, np.int64) + 1, shares.astype(np.uint16))
        except InvalidValue as error:
            raise SumFailed(f"{self._name(place)}: {error}") from None

    def _check_enough(self, there: int, needed: int, what: str) -> None:
        if there < needed:
            raise SumFailed(f"{there} devices {what}, {needed} needed; the group's sum stays closed")

    def _name(self, place: int) -> str:
        return self.enrolled.devices[place].name

    @property
    def _least(self) -> int:
        return self._graph.threshold + 1

    @property
    def _list(self) -> SumSurvivors:
        return SumSurvivors(self.terms.run, self.terms.round, self._survivors)
