"""What a privacy budget costs: accuracy against epsilon, with the server's noise and with the devices' own.

    python benchmarks/privacy.py               # digits, one seed: minutes on two quiet cores
    python benchmarks/privacy.py --large       # fleets of thousands instead: twice as long
    python benchmarks/privacy.py --seeds 3

The devices' students start from random weights and no public label is used, so that all that the fleet knows
came out of its devices: with no budget left it knows nothing, and one guess in ten is right. All
devices have the same small student, which fedavg needs. Epsilon is that of a device that answers in every
round, at delta 1e-5.

Before that, fedstill_sim.audit.bounds attacks the mechanism with the noise that is promised, and with half
of it: the epsilon that it finds must be below the promise, and above it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fedstill_proto.arrays import Float64Array
from fedstill_proto.errors import FedstillError
from fedstill_proto.privacy import Noising, seeded_bits
from fedstill_server.privacy.accountant import epsilon_of_rounds
from fedstill_sim.audit.bounds import epsilon_at_least
from fedstill_sim.progress import show_progress
from fedstill_sim.request import RunRequest
from fedstill_sim.runner.run import continue_run, start_run
from rich.console import Console

DELTA = 1e-5


@dataclass(frozen=True)
class Fleet:
    """Runs that differ in their budget alone; an epsilon of None means no noise."""

    mode: str
    method: str
    devices: int
    rounds: int
    epsilons: tuple[float | None, ...]


FLEETS = (
    Fleet("nobody", "local", 500, 5, (None,)),
    Fleet("central", "fedstill", 500, 5, (None, 8, 4, 2, 1)),
    Fleet("central", "fedavg", 500, 5, (None, 8, 4, 2, 1)),
    Fleet("central", "fedstill", 50, 5, (None, 8, 1)),
    Fleet("distributed", "fedstill", 500, 5, (8,)),
    Fleet("local", "fedstill", 500, 5, (8,)),
)
LARGE = (
    Fleet("central", "fedstill", 2000, 5, (1,)),
    Fleet("local", "fedavg", 2000, 5, (8,)),
    Fleet("local", "fedstill", 2000, 5, (8,)),
    Fleet("local", "fedstill", 5000, 5, (8,)),
)


def request(fleet: Fleet, epsilon: float | None, seed: int) -> RunRequest:
    return RunRequest(
        method=fleet.method,
        dataset="digits",
        devices=fleet.devices,
        rounds=fleet.rounds,
        families=("mlp-small",),
        use_public_labels=False,
        privacy=None if epsilon is None else fleet.mode,
        epsilon=epsilon,
        delta=None if epsilon is None else DELTA,
        sum_dropouts=0.1 if fleet.mode == "distributed" else None,  # nobody is away here
        evaluate_every=99,
        seed=seed,
        baselines=(),
        tradeoff=False,
    )


def table_row(fleet: Fleet, epsilon: float | None, seeds: int, folder: Path) -> str:
    """Make the runs, and return a row of the table."""
    results = []
    for seed in range(seeds):
        place = folder / f"{fleet.mode}-{fleet.method}-{fleet.devices}-{epsilon}-{seed}"
        start_run(request(fleet, epsilon, seed), place, force=False)
        with show_progress(Console(stderr=True), quiet=True) as progress:
            results.append(continue_run(place, progress, report=False))
    spent = results[0].privacy
    noise = "" if spent is None else f"{spent.noise_multiplier:.2f}"
    personal, everyone = (
        100 * float(np.mean([getattr(one.final, f"{kind}_accuracy") for one in results]))
        for kind in ("personal", "global")
    )
    uplink = results[0].final.uplink_bytes_per_device_round
    budget = "none" if epsilon is None else f"{epsilon:g}"
    return (
        f"{fleet.mode:11s} {fleet.method:9s} {fleet.devices:7d}  {budget:>7s}"
        f"{noise:>7s} {personal:9.1f} % {everyone:8.1f} % {uplink:9,.0f} B"
    )


def audit(promised: Noising, actual: Noising, *, releases: int = 200_000) -> str:
    """Attack two vectors that are as far apart as the clip allows, and describe what is found."""
    one, count = np.array([promised.clip, 0.0]), iter(range(1_000))

    def release(vector: Float64Array, many: int) -> Float64Array:
        noise = actual.noised(np.zeros(2 * many), bits=seeded_bits(1, next(count))).reshape(many, 2)
        return actual.values(actual.on_grid(vector) + noise)

    found = epsilon_at_least(release, one, -one, releases=releases, delta=DELTA)
    epsilon = epsilon_of_rounds(promised.noise_multiplier, 1, DELTA)
    held = actual == promised
    if held != (found <= epsilon):
        raise FedstillError(f"the attack finds {found:.2f} of a promised {epsilon:.2f}")
    noise = "the noise that is promised" if held else "half of it"
    return f"promised epsilon {epsilon:.2f}; with {noise} the attack finds {found:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    began = time.perf_counter()
    for multiplier in (1.0, 2.0):
        promised = Noising(1.0, multiplier)
        print(audit(promised, promised))
        print(audit(promised, Noising(1.0, multiplier / 2)))
    print("\nnoise by     method    devices  epsilon  noise  personal   global     uplink")
    with tempfile.TemporaryDirectory() as folder:
        for fleet in LARGE if options.large else FLEETS:
            for epsilon in fleet.epsilons:
                print(table_row(fleet, epsilon, options.seeds, Path(folder)), flush=True)
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
