"""How often `fedstill audit` says of a good build that its promise is broken, and how often of a broken one.

    python benchmarks/audit_alarms.py               # 200 audits of correct noise: 6 minutes on a quiet core
    python benchmarks/audit_alarms.py --null 50     # fewer
    python benchmarks/audit_alarms.py --null 0      # only the broken builds

Prints the false alarms of the noise test by itself, in 200 tests of correct noise; those of audits of one
fleet with correct noise, each with noise, shadows and answers of its own, at most 5 % of which may be alarms;
and the alarms of audits of builds with too little noise.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
from fedstill_proto.privacy import Noising, RandomBits, discrete_gaussian, seeded_bits
from fedstill_sim.audit.audit import AuditPlan, attack
from fedstill_sim.audit.bounds import interval_of_share
from fedstill_sim.audit.noise_check import check_noise
from fedstill_sim.audit.observed_run import ObservedRun, observe_run
from fedstill_sim.audit.progress import AuditProgress
from fedstill_sim.config import requested_data, resolve
from fedstill_sim.request import RunRequest
from rich.console import Console

MOST_FALSE_ALARMS = 0.05
BROKEN_AUDITS = 5
NOISE = "fedstill_proto.privacy.noising.discrete_gaussian"  # what devices draw

Noise = npt.NDArray[np.int64]
Damage = Callable[[Noise], Noise]
DAMAGES: tuple[tuple[str, Damage], ...] = (
    ("no noise", lambda noise: 0 * noise),
    ("half of the noise", lambda noise: noise // 2),
    ("80 % of the noise", lambda noise: (4 * noise) // 5),
    ("no noise in the last number", lambda noise: np.append(noise[:-1], 0)),
)


def observed(folder: Path) -> ObservedRun:
    """One round of four writers' digits, whose devices add the noise."""
    request = RunRequest(
        dataset="digits",
        method="class-logits",
        devices=4,
        rounds=1,
        families=("mlp-small",),
        privacy="local",
        epsilon=8.0,
        processes=0,
        baselines=(),
        tradeoff=False,
    )
    data = requested_data(request)
    return observe_run(data, resolve(request, data), folder, device=0, progress=quiet())


def quiet() -> AuditProgress:
    return AuditProgress(Console(quiet=True))


def alarms(run: ObservedRun, audits: int, *, first: int) -> int:
    """How many of so many audits say that the promise is broken."""
    plans = (AuditPlan(shadows=16, runs=16, seed=first + number) for number in range(audits))
    return sum(bool(attack(run, plan, quiet()).broken) for plan in plans)


def alone(tests: int) -> int:
    """How many tests of correct noise by itself raise an alarm: eight releases of a vector of full length."""
    noising = Noising(2.0, 1.0)
    vector = np.full(400, 0.1)
    found = 0
    for test in range(tests):
        released = [
            noising.values(noising.noised(vector, bits=seeded_bits(test, number))) for number in range(8)
        ]
        found += bool(check_noise(np.stack(released), deviation=noising.sigma, clip=noising.clip).missing)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--null", type=int, default=200, help="audits of correct noise")
    parser.add_argument("--first", type=int, default=0, help="the first seed: to run in pieces")
    options = parser.parse_args()
    began, good = time.perf_counter(), True
    print(
        f"the noise test by itself: {alone(200)} of 200 tests of correct noise raise a false alarm",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        run = observed(Path(folder) / "run")
        if options.null:
            false = alarms(run, options.null, first=options.first)
            low, high = interval_of_share(false, options.null)
            good = false <= MOST_FALSE_ALARMS * options.null
            print(
                f"correct noise: {false} of {options.null} audits raise a false alarm "
                f"(95 % interval {low:.1%} to {high:.1%}; at most {MOST_FALSE_ALARMS:.0%} may)",
                flush=True,
            )
        for name, damage in DAMAGES:

            def damaged(count: int, *, bits: RandomBits, by: Damage = damage) -> Noise:
                return by(discrete_gaussian(count, bits=bits))

            with patch(NOISE, damaged):
                found = alarms(run, BROKEN_AUDITS, first=options.first)
            good = good and found == BROKEN_AUDITS
            print(f"{name}: {found} of {BROKEN_AUDITS} audits raise an alarm", flush=True)
    print(f"{time.perf_counter() - began:.0f} s")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
