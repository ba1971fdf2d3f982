"""Bytes down and up of a device-round, and accuracy, with tasks coded against what devices were told before.

Real runs of the simulator: digits, 20 devices, Dirichlet .1, no labels of the public set, 20 rounds, the
first included. Three ways for the same soft labels: whole in each round (4 bits); against the last round;
and as a run codes them that says nothing, with only those codes new that matter. Prints the means over the
seeds of both directions, of both accuracies, and the bytes down of each round; the last way must take at
most 2,000 bytes both ways together and lose at most half a point of either accuracy.

    python benchmarks/downlink.py --seeds 1000 1001 1002
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from fedstill_sim.results.json_files import read_json
from fedstill_sim.results.run_result import RESULT_FILE

COMMAND = [sys.executable, "-c", "from fedstill_sim.cli import main; main()"]
FLEET = "--dirichlet 0.1 --no-public-labels --baselines none --no-tradeoff --no-report --quiet --force"
WAYS = {
    "whole": "--downlink dense,4bit,log,entropy",
    "against the last round": "--downlink dense,4bit,log,entropy,delta --set told_tolerance=0",
    "few codes new": "",
}
MOST_BYTES, MOST_POINTS = 2000, 0.5


@dataclass(frozen=True)
class Outcome:
    """One run; bytes are of a device and round."""

    down: tuple[float, ...]  # by round
    up: float
    personal: float
    everyone: float


def run(way: str, seed: int, *, args: argparse.Namespace, folder: Path) -> Outcome:
    """Run the fleet with one coding of its tasks."""
    words = [args.data, *FLEET.split(), *WAYS[way].split(), "--seed", str(seed), "--out", str(folder)]
    words += [
        "--devices",
        str(args.devices),
        "--rounds",
        str(args.rounds),
        "--evaluate-every",
        str(args.rounds),
    ]
    words += ["--processes", str(args.processes)]
    done = subprocess.run(
        [*COMMAND, "run", *words], capture_output=True, text=True, env=dict(os.environ), check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"fedstill-sim ended with {done.returncode}:\n{done.stderr}")
    rounds = read_json(folder / RESULT_FILE)["rounds"]
    return Outcome(
        tuple(one["downlink_bytes_per_device_round"] for one in rounds),
        mean(one["uplink_bytes_per_device_round"] for one in rounds),
        rounds[-1]["personal_accuracy"],
        rounds[-1]["global_accuracy"],
    )


def line(name: str, outcomes: Sequence[Outcome]) -> str:
    """Tell the means over the seeds."""
    down = [mean(column) for column in zip(*(one.down for one in outcomes), strict=True)]
    up = mean(one.up for one in outcomes)
    personal, everyone = (100 * mean(getattr(one, n) for one in outcomes) for n in ("personal", "everyone"))
    by_round = " ".join(f"{value:.0f}" for value in down)
    return (
        f"{name:24} {mean(down):5.0f} B down + {up:4.0f} B up = {mean(down) + up:5.0f} B, "
        f"{personal:.1f} % personal, {everyone:.1f} % global\n    down by round: {by_round}"
    )


def main() -> int:
    """Run all ways over the seeds, and judge the last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1000, 1001, 1002])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--devices", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--processes", type=int, default=0)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS), help="without a verdict")
    args = parser.parse_args()
    found: dict[str, list[Outcome]] = {}
    for way in args.ways:
        with tempfile.TemporaryDirectory() as place:
            found[way] = [run(way, seed, args=args, folder=Path(place) / "run") for seed in args.seeds]
        print(line(way, found[way]), flush=True)
    if len(args.ways) < len(WAYS):
        return 0
    whole, few = found["whole"], found["few codes new"]
    total = mean(mean(one.down) + one.up for one in few)
    lost = max(
        100 * (mean(getattr(one, name) for one in whole) - mean(getattr(one, name) for one in few))
        for name in ("personal", "everyone")
    )
    passed = total <= MOST_BYTES and lost <= MOST_POINTS
    print(f"{'holds' if passed else 'FALLS SHORT'}: {total:.0f} B both ways, {lost:.2f} points lost at most")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
