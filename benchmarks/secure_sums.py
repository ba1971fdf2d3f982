"""Sums that the server cannot open: are they exact after dropouts, and what do they cost beside plain
answers?

    python benchmarks/secure_sums.py               # 100 devices: 30 % drop out at one step, and at every step
    python benchmarks/secure_sums.py --devices 2000 --dropouts 0.1 --at mask     # one group, one row
    python benchmarks/secure_sums.py --simulator   # a run of 2,000 simulated devices, with sums and without

The devices and the server are the real ones (fedstill_client.secure_sums, fedstill_server.secure_sums), with
real cryptography and each device's state as it is on its disk; only the network is left out. A device answers
1,300 numbers, those of 130 public examples and 10 classes. Up and down are bytes a device, over all steps; a
plain answer's are those of the same numbers with the device's own noise. Seconds are processor time of one
core.

To survive 30 % at every one of the five steps, two thirds of those who dealt shares may be gone by the end.
No threshold is then high enough against a server that lies: devices take part because the benchmark's owner
says that it is enough that the server is curious.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fedstill_client.secure_sums.member import SumMember, offer_keys
from fedstill_client.secure_sums.rule import SumRule
from fedstill_client.secure_sums.state import SumState
from fedstill_proto.codec.api import encode_summary
from fedstill_proto.messages import PrivateStatistics, SoftLabelSummary, SummaryKind
from fedstill_proto.privacy import Noising, seeded_bits, system_bits
from fedstill_proto.secure_sums.enrolled import EnrolledDevice, EnrolledDevices
from fedstill_proto.secure_sums.terms import Summing, SumNoise, SumTerms
from fedstill_server.secure_sums.group_sum import GroupSum
from fedstill_sim.progress import show_progress
from fedstill_sim.request import RunRequest
from fedstill_sim.runner.run import continue_run, start_run
from rich.console import Console

NUMBERS = 1300
STEPS = ("advertise", "deal", "mask", "agree", "reveal")
NOISING = Noising(10.0, 1.34)


@dataclass
class Group:
    """A group of devices, what each keeps, and what they send and take."""

    terms: SumTerms
    vectors: np.ndarray  # [devices, numbers]
    members: list[SumMember]
    states: list[bytes] = field(default_factory=list)
    uplink_bytes: int = 0
    downlink_bytes: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, devices: int, *, dropouts: float, curious_server: bool) -> Group:
        """Make devices with keys, vectors and offers."""
        keys = [ec.generate_private_key(ec.SECP384R1()) for _ in range(devices)]
        public = [
            one.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() for one in keys
        ]
        enrolled = EnrolledDevices.of(
            [EnrolledDevice(f"device-{place:05d}", text) for place, text in enumerate(public)], version=1
        )
        summing = Summing(noise=SumNoise.NONE, dropouts=dropouts)
        terms = SumTerms(run="0123abcd", round=1, summing=summing, noising=NOISING, numbers=NUMBERS)
        rule = SumRule(curious_server=curious_server)
        vectors = np.random.default_rng(0).integers(-40, 41, (devices, NUMBERS))
        members = [
            SumMember(key, text, enrolled, rule, system_bits) for key, text in zip(keys, public, strict=True)
        ]
        group = cls(terms, vectors, members)
        started = time.process_time()
        offers = [offer_keys(terms, vector, key) for vector, key in zip(vectors, keys, strict=True)]
        group.seconds = time.process_time() - started
        group.states = [offer.to_bytes() for offer in offers]
        return group

    def answer(self, step: str, place: int, question: bytes) -> bytes:
        """Return what a device answers, as a process of its own would: from what is on its disk."""
        started = time.process_time()
        state = getattr(self.members[place], step)(SumState.from_bytes(self.states[place]), question)
        self.states[place] = state.to_bytes()
        self.seconds += time.process_time() - started
        answer: bytes = getattr(state, step).answer
        self.uplink_bytes += len(answer)
        self.downlink_bytes += len(question)
        return answer


def row(
    devices: int, share: float, at: Sequence[str], *, dropouts: float, curious_server: bool = False
) -> str:
    """Sum once, and describe it."""
    group = Group.of(devices, dropouts=dropouts, curious_server=curious_server)
    draw, alive = random.Random(1), set(range(devices))

    def drop_out(step: str) -> None:
        if step in at:
            alive.difference_update(draw.sample(sorted(alive), round(share * len(alive))))

    started = time.process_time()
    drop_out("advertise")
    keys = {place: SumState.from_bytes(group.states[place]).keys for place in sorted(alive)}
    server = GroupSum(group.terms, group.members[0].enrolled, keys)
    steps: list[tuple[str, Callable[[], dict[int, bytes]], Callable[[int, bytes], None]]] = [
        ("deal", server.rosters, server.take_dealt),
        ("mask", server.deliveries, server.take_masked),
        ("agree", server.survivors, server.take_agreement),
        ("reveal", server.agreements, server.take_revealed),
    ]
    before = group.seconds
    for step, asks, take in steps:
        asked = asks()
        drop_out(step)
        for place, question in asked.items():
            if place in alive:
                take(place, group.answer(step, place, question))
    opened = server.opened()
    of_server = time.process_time() - started - (group.seconds - before)
    exact = bool((opened.steps == group.vectors[opened.members].sum(axis=0)).all())
    if not exact:
        sys.exit(f"{at}: the sum is not exact")
    graph = server.graph
    where = "nobody" if share == 0 else "every step" if len(at) > 1 else at[0]
    return (
        f"{devices:7d}  {where:10s} {len(opened.members):6d} {len(alive):6d}  {graph.neighbours:4d} "
        f"{graph.threshold:4d}  {'yes' if graph.withstands_lies else 'no':>4s}  exact "
        f"{group.uplink_bytes / devices:8,.0f} {group.downlink_bytes / devices:8,.0f} "
        f"{1000 * group.seconds / devices:8.1f} {of_server:7.2f}"
    )


def plain_bytes() -> int:
    """Return how long a noised answer of as many numbers is, where the server sees each."""
    noised = NOISING.noised(np.zeros(NUMBERS), bits=seeded_bits(0))
    summary = SoftLabelSummary("0123abcd", 1, "mlp", SummaryKind.PUBLIC_SET, PrivateStatistics(noised=noised))
    return len(encode_summary(summary, codec=None))


def simulate(devices: int) -> None:
    """Run one round of simulated devices, with sums and without, and print what each takes."""
    print(f"\none round of {devices} simulated devices: distributed noise beside central")
    for privacy in ("central", "distributed"):
        request = RunRequest(
            dataset="digits",
            devices=devices,
            rounds=1,
            families=("mlp-small",),
            use_public_labels=False,
            privacy=privacy,
            epsilon=8.0,
            sum_dropouts=0.1 if privacy == "distributed" else None,  # nobody is away here
            evaluate_every=99,
            baselines=(),
            tradeoff=False,
        )
        with tempfile.TemporaryDirectory() as folder:
            started = time.process_time()
            start_run(request, Path(folder) / "run", force=False)
            with show_progress(Console(stderr=True), quiet=True) as progress:
                result = continue_run(Path(folder) / "run", progress, report=False)
        (only,) = result.rounds
        print(
            f"{privacy:12s} {only.accepted} answers, {only.uplink_bytes / devices:,.0f} B up, "
            f"{only.downlink_bytes / devices:,.0f} B down a device, "
            f"{time.process_time() - started:.0f} s of this processor, data and training and all",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--devices", type=int, default=100)
    parser.add_argument("--dropouts", type=float, default=0.3)
    parser.add_argument("--at", choices=STEPS, help="the one step at which devices drop out")
    parser.add_argument("--simulator", action="store_true")
    options = parser.parse_args()
    if options.simulator:
        simulate(2000 if options.devices == 100 else options.devices)
        return
    print(f"a plain answer: {plain_bytes():,} B up")
    print("devices  drop out at in sum at end     k    t  lies           B up   B down  ms each  server s")
    rows = [(step,) for step in STEPS] if options.at is None else [(options.at,)]
    if options.at is None:
        print(row(options.devices, 0.0, (), dropouts=options.dropouts), flush=True)
    for at in rows:
        print(row(options.devices, options.dropouts, at, dropouts=options.dropouts), flush=True)
    if options.at is None:
        # What is left of those who dealt, after three more steps, and a little room.
        most = min(0.9, 1 - (1 - options.dropouts) ** 3 + 0.05)
        every = row(options.devices, options.dropouts, STEPS, dropouts=most, curious_server=True)
        print(every, flush=True)


if __name__ == "__main__":
    main()
