"""The four steps that a device answers in a sum, after the one in which it offers its keys.

Each takes the state from before, and gives the state after it, in which the answer is. Nothing is sent before
that state is on the disk. A device - takes part with nobody who is not in its list of enrolled devices, and
with no group below its owner's size; - masks its numbers once, and signs one list of survivors; - reveals
only for a list that as many neighbours have signed as shares open a secret, and of each neighbour
  either the share of its own mask's seed or that of its key, and never both.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from fedstill_proto.arrays import IntArray
from fedstill_proto.codec.sum_codec import (
    decode_agreements,
    decode_delivery,
    decode_roster,
    decode_survivors,
    encode_agreement,
    encode_dealt,
    encode_masked,
    encode_revealed,
)
from fedstill_proto.errors import InvalidValue
from fedstill_proto.privacy import RandomBits, discrete_gaussian
from fedstill_proto.secure_sums.enrolled import EnrolledDevices, is_signed, sign
from fedstill_proto.secure_sums.graph import SumGraph
from fedstill_proto.secure_sums.masks import SEED_BYTES, mask_seed, masked, pack, private_key, public_key
from fedstill_proto.secure_sums.messages import (
    DealtShares,
    MaskedNumbers,
    RevealedShares,
    SumAgreement,
    SumKeys,
    SumRoster,
)
from fedstill_proto.secure_sums.sealing import open_sealed_shares, seal
from fedstill_proto.secure_sums.shamir import Shares, split
from fedstill_proto.secure_sums.sizes import SIGNATURE_BYTES
from fedstill_proto.secure_sums.terms import SumNoise, SumTerms

from fedstill_client.secure_sums.rule import SumRefused, SumRule
from fedstill_client.secure_sums.state import Exchange, SumState

Step = Callable[[SumState, bytes], SumState]


def offer_keys(terms: SumTerms, vector: IntArray, identity: ec.EllipticCurvePrivateKey) -> SumState:
    """Begin a sum: fresh keys, signed by the device's registered key.

    Args:
        terms: What is summed.
        vector: The device's numbers, on the grid and without noise [numbers].
        identity: Its registered private key.
    """
    if vector.shape != (terms.numbers,):
        raise InvalidValue("vector", f"of shape {vector.shape}, expected {terms.numbers} numbers")
    mask_private, share_private, self_seed = (secrets.token_bytes(SEED_BYTES) for _ in range(3))
    keys = SumKeys(
        mask_key=public_key(private_key(mask_private)),
        share_key=public_key(private_key(share_private)),
        commitment=hashlib.sha256(self_seed).digest(),
        signature=bytes(SIGNATURE_BYTES),
    )
    return SumState(
        terms=terms,
        keys=replace(keys, signature=sign(identity, keys.statement(terms.digest))),
        share_private=share_private,
        vector=vector,
        mask_private=mask_private,
        self_seed=self_seed,
    )


@dataclass(frozen=True)
class SumMember:
    """A device that takes part in sums.

    Attributes:
        identity: Its registered private key.
        public_key: Its registered public key, as OpenSSH writes it.
        enrolled: The signed list of the fleet's devices.
        rule: What its owner asks of a sum.
        noise: Where its noise comes from.
    """

    identity: ec.EllipticCurvePrivateKey
    public_key: str
    enrolled: EnrolledDevices
    rule: SumRule
    noise: RandomBits

    def deal(self, state: SumState, question: bytes) -> SumState:
        """Split the two secrets among the neighbours, sealed for each of them.

        Raises:
            SumRefused: The group is not one that the device takes part in.
            WireError: The question is no roster of this sum.
        """
        if _asked_before(state.deal, question, "roster"):
            return state
        if not state.self_seed:
            raise SumRefused("this device has masked its numbers already")
        group = self._group(state, question)
        places = group.neighbours + 1  # Shamir's places begin at 1
        threshold = group.graph.threshold
        dealt = np.stack(
            [split(secret, places, threshold=threshold) for secret in (state.self_seed, state.mask_private)],
            axis=1,
        )  # [neighbours, 2, CHUNKS]
        private = private_key(state.share_private)
        sealed = tuple(
            seal(
                shares,
                private,
                group.keys[place].share_key,
                roster=group.digest,
                way=(group.own, place),
            )
            for place, shares in zip(group.neighbours.tolist(), dealt, strict=True)
        )
        answer = encode_dealt(DealtShares(state.terms.run, state.terms.round, sealed))
        return replace(state, deal=Exchange(question, answer))

    def mask(self, state: SumState, question: bytes) -> SumState:
        """Mask the numbers, with the device's part of the noise, for the group of those who have dealt.

        Raises:
            SumRefused: It is not one that the device takes part in, or what a neighbour dealt does not open.
            WireError: The question is no delivery of this sum.
        """
        if _asked_before(state.mask, question, "delivery"):
            return state
        group = self._group_from_before(state)
        held = group.shares_from(state, question)
        dealt = group.dealt(question)
        self.rule.check_size(len(dealt), "have dealt")
        if state.vector is None:
            raise SumRefused("the numbers of this round are gone")
        terms = state.terms
        steps = state.vector + self._noise_of(terms, len(dealt))
        private = private_key(state.mask_private)
        seeds = {
            place: mask_seed(
                private,
                group.keys[place].mask_key,
                roster=group.digest,
                pair=(group.own, place),
            )
            for place in group.neighbours_in(dealt)
        }
        numbers = masked(
            steps,
            [state.self_seed, *(seed for place, seed in seeds.items() if group.own < place)],
            [seed for place, seed in seeds.items() if place < group.own],
            bits=terms.bits(len(dealt)),
        )
        packed = pack(numbers, bits=terms.bits(len(dealt)))
        answer = encode_masked(MaskedNumbers(terms.run, terms.round, packed))
        return replace(
            state,
            mask=Exchange(question, answer),
            held=np.stack(held),
            vector=None,
            mask_private=b"",
            self_seed=b"",
            share_private=b"",
        )

    def agree(self, state: SumState, question: bytes) -> SumState:
        """Sign who is in the sum, once.

        Raises:
            SumRefused: The list is none that the device takes part in, or another than it has signed.
            WireError: The question is no list of survivors of this sum.
        """
        if _asked_before(state.agree, question, "list of survivors"):
            return state
        group = self._group_from_before(state)
        if not state.mask.answer:
            raise SumRefused("asked who is in a sum that this device has sent nothing for")
        dealt = group.dealt(state.mask.question)
        listed = decode_survivors(question, run=state.terms.run, round=state.terms.round)
        if group.own not in listed.members or not np.isin(listed.members, dealt).all():
            raise SumRefused("the list of survivors lacks this device, or names some who have not dealt")
        self.rule.check_size(len(listed.members), "are in the sum")
        least = state.terms.summing.least_survivors(len(dealt))
        if len(listed.members) < least:
            raise SumRefused(f"{len(listed.members)} of {len(dealt)} devices are in the sum, {least} needed")
        group.check_enough(listed.members, "are in the sum")
        signature = sign(self.identity, listed.statement(group.digest))
        answer = encode_agreement(SumAgreement(state.terms.run, state.terms.round, signature))
        return replace(state, agree=Exchange(question, answer))

    def reveal(self, state: SumState, question: bytes) -> SumState:
        """Reveal one share of each neighbour that has dealt.

        Raises:
            SumRefused: Too few neighbours have signed the list that this device has signed.
            WireError: The question holds no signatures of this sum.
        """
        if state.reveal.answer:
            # Which neighbours' signatures come along changes nothing: the answer is to the signed list.
            return state
        group, run, number = self._group_from_before(state), state.terms.run, state.terms.round
        if not state.agree.answer:
            raise SumRefused("asked for shares before the list of survivors")
        listed = decode_survivors(state.agree.question, run=run, round=number)
        signed = decode_agreements(question, run=run, round=number)
        statement = listed.statement(group.digest)
        neighbours = set(group.neighbours_in(listed.members))
        agreed = sum(
            place in neighbours and is_signed(self.enrolled.devices[place].public_key, signature, statement)
            for place, signature in zip(signed.members.tolist(), signed.signatures, strict=True)
        )
        if agreed < group.graph.threshold:
            raise SumRefused(
                f"{agreed} neighbours have signed the same list of survivors, {group.graph.threshold} needed"
            )
        assert state.held is not None  # kept with the numbers that were masked
        dealers = group.neighbours_in(group.dealt(state.mask.question))
        gone = (~np.isin(dealers, listed.members)).astype(np.int64)  # 1 for the share of a key
        shares = state.held[np.arange(len(dealers)), gone]
        answer = encode_revealed(RevealedShares(run, number, shares))
        return replace(
            state,
            held=None,
            deal=replace(state.deal, answer=b""),
            mask=replace(state.mask, question=b""),
            reveal=Exchange(question, answer),
        )

    def _noise_of(self, terms: SumTerms, dealt: int) -> IntArray:
        if terms.summing.noise is SumNoise.NONE:
            return np.zeros(terms.numbers, np.int64)
        parts = 1 if terms.summing.noise is SumNoise.OWN else terms.summing.noise_parts(dealt)
        return discrete_gaussian(terms.numbers, bits=self.noise, parts=parts)

    def _group_from_before(self, state: SumState) -> _Group:
        if not state.deal.answer or state.reveal.answer:
            raise SumRefused("this device has dealt no shares, or has revealed them already")
        return self._group(state, state.deal.question, checked=True)

    def _group(self, state: SumState, question: bytes, *, checked: bool = False) -> _Group:
        """The group of a roster, checked against the list of enrolled devices and the owner's rule.

        checked: Whether it is the one of the first step, whose signatures need no second look.
        """
        roster = decode_roster(question, run=state.terms.run, round=state.terms.round)
        if roster.enrolled != self.enrolled.digest:
            raise SumRefused("the server goes by another list of enrolled devices than was signed")
        if roster.members[-1] >= len(self.enrolled.devices):
            raise SumRefused("the roster names more devices than are enrolled")
        own = self.enrolled.place_of(self.public_key)
        if own is None or own not in roster.members:
            raise SumRefused("this device is not in the roster, or not enrolled")
        self.rule.check_size(len(roster.members), "are in the group")
        try:
            graph = state.terms.summing.graph(len(roster.members))
        except InvalidValue as error:
            raise SumRefused(f"no group of {len(roster.members)} is safe: {error}") from None
        self.rule.check_graph(graph)
        group = _Group.of(roster, graph, own, state.terms)
        if not checked:
            group.check_signatures(self.enrolled)
        return group


@dataclass(frozen=True, eq=False)
class _Group:
    """A checked roster, as one of its devices sees it; places are those of the list of enrolled devices."""

    digest: bytes
    graph: SumGraph
    own: int
    members: IntArray
    neighbours: IntArray
    keys: dict[int, SumKeys]
    terms: SumTerms

    @classmethod
    def of(cls, roster: SumRoster, graph: SumGraph, own: int, terms: SumTerms) -> _Group:
        """The group; raises SumRefused unless the roster holds keys of each neighbour."""
        digest = roster.digest(terms.digest)
        at = int(np.searchsorted(roster.members, own))
        neighbours = roster.members[graph.neighbours_of(at, seed=digest)]
        if len(roster.keys) != len(neighbours):
            raise SumRefused(f"{len(roster.keys)} keys for {len(neighbours)} neighbours")
        keys = dict(zip(neighbours.tolist(), roster.keys, strict=True))
        return cls(digest, graph, own, roster.members, neighbours, keys, terms)

    def check_signatures(self, enrolled: EnrolledDevices) -> None:
        """Raise SumRefused unless each neighbour's keys are signed by the key that the list has for it."""
        agreed = self.terms.digest
        for place, offered in self.keys.items():
            device = enrolled.devices[place]
            if not is_signed(device.public_key, offered.signature, offered.statement(agreed)):
                raise SumRefused(f"the keys of {device.name} are not signed by the key it is enrolled with")

    def dealt(self, question: bytes) -> IntArray:
        """The places of those who have dealt, by the server's delivery."""
        return decode_delivery(question, run=self.terms.run, round=self.terms.round).members

    def neighbours_in(self, members: IntArray) -> list[int]:
        """The neighbours that are among these."""
        found: list[int] = self.neighbours[np.isin(self.neighbours, members)].tolist()
        return found

    def check_enough(self, members: IntArray, what: str) -> None:
        """Raise SumRefused where too few neighbours are among these for a secret to be opened."""
        if (there := len(self.neighbours_in(members))) < self.graph.threshold:
            raise SumRefused(f"{there} neighbours {what}, {self.graph.threshold} needed")

    def shares_from(self, state: SumState, question: bytes) -> list[Shares]:
        """What the neighbours have dealt to this device [2, CHUNKS], by place.

        Raises:
            SumRefused: The delivery is of no group that the device takes part in, or does not open.
        """
        delivery = decode_delivery(question, run=self.terms.run, round=self.terms.round)
        if self.own not in delivery.members or not np.isin(delivery.members, self.members).all():
            raise SumRefused("the delivery lacks this device, or names some who are not in the roster")
        self.check_enough(delivery.members, "have dealt")
        neighbours = self.neighbours_in(delivery.members)
        if len(delivery.sealed) != len(neighbours):
            raise SumRefused(f"{len(delivery.sealed)} sealed shares of {len(neighbours)} neighbours")
        opened, private = [], private_key(state.share_private)
        for place, sealed in zip(neighbours, delivery.sealed, strict=True):
            try:
                public, way = self.keys[place].share_key, (place, self.own)
                opened.append(open_sealed_shares(sealed, private, public, roster=self.digest, way=way))
            except InvalidValue as error:
                raise SumRefused(f"what a neighbour dealt cannot be opened: {error.problem}") from None
        return opened


def _asked_before(exchange: Exchange, question: bytes, what: str) -> bool:
    """Whether this very question was answered before; another one is refused."""
    if not exchange.answer:
        return False
    if exchange.question != question:
        raise SumRefused(f"another {what} of this round than the one that was answered")
    return True
