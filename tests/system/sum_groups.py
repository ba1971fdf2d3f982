"""A group of devices in one process, with the real cryptography: what tests and a benchmark of sums share."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fedstill_client.secure_sums.member import SumMember, offer_keys
from fedstill_client.secure_sums.rule import SumRule
from fedstill_client.secure_sums.state import SumState
from fedstill_proto.privacy import Noising, system_bits
from fedstill_proto.secure_sums.enrolled import EnrolledDevice, EnrolledDevices
from fedstill_proto.secure_sums.terms import Summing, SumNoise, SumTerms
from fedstill_server.secure_sums.group_sum import GroupSum

STEPS = ("advertise", "deal", "mask", "agree", "reveal")


def registered_devices(count: int) -> tuple[EnrolledDevices, list[ec.EllipticCurvePrivateKey]]:
    """A list of so many devices, and their private keys by place."""
    keys = [ec.generate_private_key(ec.SECP384R1()) for _ in range(count)]
    public = [key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() for key in keys]
    devices = [EnrolledDevice(f"device-{place:05d}", text) for place, text in enumerate(public)]
    return EnrolledDevices.of(devices, version=1), keys


def terms_of(numbers: int, **changes: object) -> SumTerms:
    """The terms of a sum without noise, unless told otherwise."""
    summing = Summing(**{"noise": SumNoise.NONE, "dropouts": 0.3, **changes})
    return SumTerms(run="0123abcd", round=1, summing=summing, noising=Noising(10.0, 1.0), numbers=numbers)


@dataclass
class Group:
    """Devices and what they keep."""

    terms: SumTerms
    enrolled: EnrolledDevices
    members: list[SumMember]
    vectors: np.ndarray  # [devices, numbers]
    states: list[SumState] = field(default_factory=list)
    uplink_bytes: int = 0
    downlink_bytes: int = 0

    @classmethod
    def of(cls, devices: int, terms: SumTerms, *, rule: SumRule | None = None) -> Group:
        enrolled, keys = registered_devices(devices)
        members = [
            SumMember(
                key, enrolled.devices[place].public_key, enrolled, rule or SumRule(least_group=3), system_bits
            )
            for place, key in enumerate(keys)
        ]
        most = 1000
        vectors = np.random.default_rng(0).integers(-most, most + 1, (devices, terms.numbers))
        group = cls(terms, enrolled, members, vectors)
        group.states = [offer_keys(terms, vector, key) for vector, key in zip(vectors, keys, strict=True)]
        return group

    def answer(self, step: str, place: int, question: bytes) -> bytes:
        """What the device answers; its state is kept as it is on a device's disk."""
        self.downlink_bytes += len(question)
        state = getattr(self.members[place], step)(
            SumState.from_bytes(self.states[place].to_bytes()), question
        )
        self.states[place] = state
        answer: bytes = getattr(state, step).answer
        self.uplink_bytes += len(answer)
        return answer

    def server(self, places: Sequence[int]) -> GroupSum:
        """The server, with the keys of these devices."""
        return GroupSum(self.terms, self.enrolled, {place: self.states[place].keys for place in places})


@dataclass
class Dropouts:
    """Takes a share of who is there away before the named steps."""

    share: float
    steps: Sequence[str]
    alive: set[int]
    _random: random.Random = field(default_factory=lambda: random.Random(1))

    def before(self, step: str) -> None:
        if step in self.steps:
            self.alive -= set(self._random.sample(sorted(self.alive), round(self.share * len(self.alive))))


def steps_of(
    server: GroupSum,
) -> list[tuple[str, Callable[[], dict[int, bytes]], Callable[[int, bytes], None]]]:
    """Each step after the first: its name, what the server asks, and how it takes an answer."""
    return [
        ("deal", server.rosters, server.take_dealt),
        ("mask", server.deliveries, server.take_masked),
        ("agree", server.survivors, server.take_agreement),
        ("reveal", server.agreements, server.take_revealed),
    ]


def run_steps(group: Group, server: GroupSum, dropouts: Dropouts) -> None:
    """All steps after the first, in which some do not answer."""
    for step, asks, take in steps_of(server):
        asked = asks()
        dropouts.before(step)
        for place, question in asked.items():
            if place in dropouts.alive:
                take(place, group.answer(step, place, question))
