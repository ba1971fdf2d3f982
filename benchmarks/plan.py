"""How well `fedstill plan` foresees the simulator: days of both, on three traces.

Two traces are generated, with other parameters and seeds; the third has the shape of FedScale's files, made
here: short sessions at any hour, recordings of different lengths, bandwidths and speeds with long tails. The
plan knows a pilot run of 40 devices and 3 rounds (its bytes and arithmetic) and draws fleets of its own: of
a generator with seeds of its own, of a file with replacement. The simulator then trains, sends and
folds every answer.

    python benchmarks/plan.py            the table that docs/how-to/traces.md shows; some minutes
    python benchmarks/plan.py --check    ends with 1 where a plan is further off than a fifth
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fedstill_sim.plan.planning import make_plan
from fedstill_sim.plan.request import PlanOptions, PlanRequest
from fedstill_sim.progress import SilentProgress
from fedstill_sim.request import RunRequest
from fedstill_sim.results.run_result import RunResult
from fedstill_sim.runner.run import continue_run, start_run
from fedstill_sim.traces.generated import TraceGenerator
from fedstill_sim.traces.writing import write_trace

MOST_OFF = 0.2
_METHOD: dict[str, Any] = {
    "method": "class-logits",
    "families": "mlp-small",
    "baselines": (),
    "evaluate_every": 0,
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A trace, and how rounds go on it."""

    name: str
    trace: str
    devices: int
    rounds: int
    seed: int
    options: dict[str, Any]  # of a run and of a plan, by the same names


def cases(folder: Path) -> list[Case]:
    """The three; the files are written into `folder`."""
    one_country = folder / "one-country"
    generator = TraceGenerator(zones=("1",), churn=0.4, speed_spread=1.2, night_share=0.6, days=14)
    write_trace(generator.generate(300, seed=202), one_country, about="benchmarks/plan.py")
    fedscale = folder / "fedscale"
    write_fedscale(fedscale, devices=200, seed=303)
    return [
        Case(
            name="generated: four zones, charging, an hour between rounds",
            trace="generated",
            devices=150,
            rounds=60,
            seed=101,
            options={"goal_count": 20, "over_selection": 1.3, "round_pause": 3600.0, "least_devices": 75},
        ),
        Case(
            name="generated, as a file: one zone, 40 % leave a month, online, work resumes",
            trace=str(one_country),
            devices=300,
            rounds=80,
            seed=7,
            options={
                "participation": 0.3,
                "deadline": 900.0,
                "round_pause": 600.0,
                "least_devices": 120,
                "trace_when": "online",
                "interrupted": "resume",
                "device_seconds": 240.0,
            },
        ),
        Case(
            name="FedScale's shape: short sessions at any hour, no pause",
            trace=str(fedscale),
            devices=200,
            rounds=100,
            seed=11,
            options={"goal_count": 15, "over_selection": 1.5, "device_seconds": 200.0, "least_devices": 15},
        ),
    ]


def write_fedscale(folder: Path, *, devices: int, seed: int) -> None:
    """Write dictionaries as FedScale has them."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(seed)
    behaviour, capacity = {}, {}
    for device in range(devices):
        finish = int(draw.choice([2, 3, 4])) * 86_400
        gaps = draw.exponential(3 * 3600, 400) + 60
        lasts = 25 * 60 * np.exp(draw.normal(0, 1.0, 400)) + 30
        ends = np.cumsum(gaps + lasts)
        kept = ends < finish
        behaviour[str(device)] = {
            "duration": int(lasts[kept].sum()),
            "active": [int(second) for second in (ends - lasts)[kept]],
            "inactive": [int(second) for second in ends[kept]],
            "finish_time": finish,
            "model": "made",
        }
        capacity[str(device)] = {
            "computation": float(120 * np.exp(draw.normal(0, 0.9))),
            "communication": float(5000 * np.exp(draw.normal(0, 1.2))),
        }
    (folder / "client_behave_trace.json").write_text(json.dumps(behaviour, indent=1))
    (folder / "client_device_capacity.json").write_text(json.dumps(capacity, indent=1))


def simulated(folder: Path, *, devices: int, rounds: int, seed: int, **options: Any) -> RunResult:
    """A run of the simulator."""
    request = RunRequest(
        dataset="digits", devices=devices, rounds=rounds, seed=seed, tradeoff=False, **_METHOD, **options
    )
    start_run(request, folder, force=False)
    return continue_run(folder, SilentProgress(), report=False)


def main() -> None:
    """Print a row a trace."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="end with 1 where a plan is off by more than 20 %%"
    )
    asked = parser.parse_args()
    off = []
    with tempfile.TemporaryDirectory() as kept:
        folder = Path(kept)
        pilot = folder / "pilot"
        simulated(pilot, devices=40, rounds=3, seed=5)
        print("| trace | devices, rounds | plan, days | simulator, days | plan / simulator |")
        print("|---|---|---|---|---|")
        for place, case in enumerate(cases(folder)):
            known: dict[str, Any] = {"trace": case.trace, "devices": case.devices, "rounds": case.rounds}
            options = PlanOptions(run=str(pilot), **known, **case.options)
            days = make_plan(PlanRequest.of(options)).days
            result = simulated(
                folder / f"run-{place}",
                devices=case.devices,
                rounds=case.rounds,
                seed=case.seed,
                trace=case.trace,
                **case.options,
            )
            really = (result.rounds[-1].clock_s or 0.0) / 86_400
            ratio = days.value / really
            off.append(abs(ratio - 1))
            print(
                f"| {case.name} | {case.devices}, {case.rounds} | {days.value:.2f} ({days.low:.2f} to "
                f"{days.high:.2f}) | {really:.2f} | {ratio:.2f} |",
                flush=True,
            )
    if asked.check and max(off) > MOST_OFF:
        sys.exit(f"a plan is off by {max(off):.0%}, more than {MOST_OFF:.0%}")


if __name__ == "__main__":
    main()
