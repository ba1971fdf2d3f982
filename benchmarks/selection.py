"""Selection by utility (Oort) beside random selection, on a trace: days and rounds to an accuracy.

150 phones by the generator, with speeds that differ much (log-normal, 1.5) and 200 s of work for the median
one; digits, Dirichlet 0.3, students from random weights. Each seed splits the data and draws the fleet anew;
both selections see the same.

    python benchmarks/selection.py                     class-logits and fedstill, three seeds; some minutes
    python benchmarks/selection.py --seeds 1 --rounds 24 --methods class-logits
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from fedstill_sim.progress import SilentProgress
from fedstill_sim.request import RunRequest
from fedstill_sim.results.run_result import RoundResult
from fedstill_sim.runner.run import continue_run, start_run

SELECTIONS = ("random", "oort")
SMOOTHED = 3  # rounds


def rounds_of(folder: Path, method: str, select: str, *, seed: int, rounds: int) -> Sequence[RoundResult]:
    """The rounds of a run."""
    request = RunRequest(
        dataset="digits",
        devices=150,
        dirichlet=0.3,
        families="mlp-small",
        method=method,
        rounds=rounds,
        seed=seed,
        select=select,
        start="random",  # from the teacher's students, there is little left to reach
        goal_count=12,
        over_selection=1.3,
        deadline=1800.0,
        trace="generated:speed_spread=1.5",
        device_seconds=200.0,
        least_devices=30,
        baselines=(),
    )
    start_run(request, folder, force=False)
    return continue_run(folder, SilentProgress(), report=False).rounds


def smoothed(rounds: Sequence[RoundResult], place: int) -> float:
    """The global accuracy of a round, averaged with those of the two before."""
    last = rounds[max(0, place - SMOOTHED + 1) : place + 1]
    return statistics.fmean(one.global_accuracy or 0.0 for one in last)


def reached(rounds: Sequence[RoundResult], target: float) -> tuple[float, int] | None:
    """(hours, rounds) until the accuracy is the target's."""
    for place in range(SMOOTHED - 1, len(rounds)):
        if smoothed(rounds, place) >= target:
            return (rounds[place].clock_s or 0.0) / 3600, rounds[place].round
    return None


def main() -> None:
    """Print a row a method and selection."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--methods", default="class-logits,fedstill")
    asked = parser.parse_args()
    print(
        "| method | target | selection | hours to it | rounds to it | minutes a round | accuracy in the end |"
    )
    print("|---|---|---|---|---|---|---|")
    for method in asked.methods.split(","):
        runs: dict[str, list[Sequence[RoundResult]]] = {select: [] for select in SELECTIONS}
        with tempfile.TemporaryDirectory() as kept:
            for seed in range(asked.seeds):
                for select in SELECTIONS:
                    folder = Path(kept) / f"{select}-{seed}"
                    runs[select].append(rounds_of(folder, method, select, seed=seed, rounds=asked.rounds))
        # What random selection has after two thirds of its rounds, in the seed that has least.
        target = min(smoothed(run, 2 * len(run) // 3) for run in runs["random"])
        for select in SELECTIONS:
            found = [reached(run, target) for run in runs[select]]
            hours = "/".join("-" if one is None else f"{one[0]:.1f}" for one in found)
            count = "/".join("-" if one is None else str(one[1]) for one in found)
            minutes = statistics.fmean((run[-1].clock_s or 0.0) / len(run) / 60 for run in runs[select])
            final = statistics.fmean(run[-1].global_accuracy or 0.0 for run in runs[select])
            print(
                f"| {method} | {target:.1%} | {select} | {hours} | {count} | {minutes:.1f} | {final:.1%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
