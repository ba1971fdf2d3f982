"""What fleets of several labels and of numbers come to: fedstill beside devices alone and averaged weights.

    python benchmarks/targets.py --seeds 0-1          # what settings are chosen on
    python benchmarks/targets.py --seeds 1000-1002

Ten numbers, and three labels or three numbers that a random network makes of them, with noise; every device
sees inputs around a centre of its own, and 100 public examples are labelled. For each target and method the
means over the seeds: macro F1 or R2, and mean average precision or the negative log likelihood, of devices'
students on their own examples and on everyone's; and what a device sends and is sent in a round.
"""

from __future__ import annotations

import argparse

import numpy as np
from rich.console import Console
from rich.table import Table

import fedstill as fs

FIGURES = {"multi-label": ("macro_f1", "mean_average_precision"), "regression": ("r2", "nll")}
METHODS = ("fedstill", "local", "fedavg", "fedavg-ft")


def fleet_of(target: str, seed: int, *, devices: int = 8) -> fs.Fleet:
    """A fleet whose devices see different inputs of one function."""
    random = np.random.default_rng(seed)
    inner, outer = random.normal(size=(10, 16)) / 3, random.normal(size=(16, 3)) / 2

    def examples(count: int, centre: np.ndarray | float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        x = (random.normal(size=(count, 10)) + centre).astype(np.float32)
        said = np.tanh(x @ inner) @ outer + 0.1 * random.normal(size=(count, 3))
        return x, (said > 0).astype(np.int64) if target == "multi-label" else 100 + said * [10, 1, 0.1]

    private = [fs.Device(*examples(120, 0.7 * random.normal(size=10))) for _ in range(devices)]
    return fs.Fleet.from_arrays(private, public=examples(100), test=examples(400), target=target)


def measured(target: str, method: str, seed: int, *, rounds: int) -> list[float]:
    """Both figures of own and of everyone's examples, and bytes up and down."""
    result = fs.simulate(
        fleet_of(target, seed),
        students=["mlp-small"],
        method=method,
        rounds=rounds,
        seed=seed,
        processes=0,
        evaluate_every=0,
        tradeoff=False,
    )
    found, final = result.evaluation, result.final
    figures = [found[scope][name] for scope in ("personal", "global") for name in FIGURES[target]]
    return [*figures, final.uplink_bytes_per_device_round, final.downlink_bytes_per_device_round]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--targets", nargs="+", default=list(FIGURES), choices=list(FIGURES))
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--seeds", default="1000-1002", help="first-last")
    parser.add_argument("--rounds", type=int, default=10)
    asked = parser.parse_args()
    first, last = map(int, asked.seeds.split("-"))
    for target in asked.targets:
        columns = [f"{scope} {name}" for scope in ("own", "all") for name in FIGURES[target]]
        table = Table(target, *columns, "up B", "down B")
        for method in asked.methods:
            runs = [measured(target, method, seed, rounds=asked.rounds) for seed in range(first, last + 1)]
            *figures, up, down = np.mean(runs, axis=0)
            table.add_row(method, *(f"{figure:.3f}" for figure in figures), f"{up:.0f}", f"{down:.0f}")
        Console().print(table)


if __name__ == "__main__":
    main()
