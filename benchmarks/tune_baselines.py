"""The baselines at their best: the setting of each on a grid, chosen where settings are chosen.

    python benchmarks/tune_baselines.py --methods fedprox          # one method: some minutes
    python benchmarks/tune_baselines.py --out runs/tuned           # all of them: an hour
    python benchmarks/tune_baselines.py --cells digits@0.1 --seeds 1 --methods ditto

Each method runs with every setting of its grid on data sets and seeds that no claim is made on (digits and
mnist1d at Dirichlet 0.1, watch as it comes; seeds from 0), and the best has the highest mean of personal and
global accuracy, of the same answers, over cells and seeds. All have the same devices, students, rounds and
epochs; fedbn runs with cnn-norm, and with fedavg on the same beside it. Then regimes.py can hold a method
against them: --baselines fedprox+learning_rate=0.02+proximal=0.1. Finished runs stay in --out.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks, from wherever this is started

from fedstill_proto.errors import FedstillError, unknown_name
from fedstill_sim.request import names
from fedstill_sim.results.readable import readable_bytes
from rich.console import Console
from rich.table import Table

from benchmarks.regimes import Cell, Figures, make_runs

RATES = (0.01, 0.02, 0.05, 0.1)
PULLS = (0.001, 0.01, 0.1, 1)  # FedProx's, of its paper
NEAR = (0.05, 0.1, 0.2, 1)  # Ditto's: those of its paper, and 1
Grid = Mapping[str, Sequence[object]]
GRIDS: Mapping[str, Grid] = {
    "local": {"learning_rate": RATES},
    "fedavg": {"learning_rate": RATES},
    "fedprox": {"learning_rate": RATES, "proximal": PULLS},
    "scaffold": {"learning_rate": RATES},
    "fedper": {"learning_rate": RATES},
    "fedrep": {"learning_rate": RATES, "body_epochs": (1, 3)},
    "ditto": {"learning_rate": RATES, "proximal": NEAR},
    "fedbn": {"learning_rate": RATES, "families": ("cnn-norm",)},
    "fedavg-norm": {"learning_rate": RATES, "families": ("cnn-norm",)},
}
"""The settings of each method; a name behind a hyphen is for the table alone."""


def settings_of(name: str) -> list[str]:
    """A method with each setting of its grid, as regimes.py names them."""
    grid, method = GRIDS[name], name.removesuffix("-norm")
    return [
        "+".join([method, *(f"{key}={value}" for key, value in zip(grid, values, strict=True))])
        for values in itertools.product(*grid.values())
    ]


def measured(options: argparse.Namespace, settings: Sequence[str]) -> dict[str, list[Figures]]:
    """What each setting came to, cell by cell."""
    found: dict[str, list[Figures]] = {setting: [] for setting in settings}
    for text in names(options.cells) or ():
        for setting, figures in make_runs(options, Cell.of(text), settings).items():
            found[setting].append(figures)
    return found


def best_of(found: Mapping[str, Sequence[Figures]]) -> str:
    """The setting with the highest mean of personal and global accuracy over all cells."""
    return max(found, key=lambda setting: mean_of([one.mean.mean for one in found[setting]]))


def mean_of(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def show(name: str, found: Mapping[str, Sequence[Figures]], cells: Sequence[str]) -> None:
    """Print a method's grid: personal / global accuracy of each cell, their mean, bytes a device-round."""
    table = Table("setting", *cells, "mean", "bytes", "", box=None, title=name, title_justify="left")
    for setting, each in found.items():
        pairs = [f"{100 * one.personal.mean:.1f} / {100 * one.everyone.mean:.1f}" for one in each]
        mean = f"{100 * mean_of([one.mean.mean for one in each]):.1f}"
        sent = readable_bytes(mean_of([one.bytes.mean for one in each]))
        table.add_row(setting, *pairs, mean, sent, "best" if setting == best_of(found) else "")
    Console(width=140).print(table)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/tuned"), help="where runs are kept")
    parser.add_argument("--methods", default=",".join(GRIDS), help="which baselines; commas between")
    parser.add_argument("--cells", default="digits@0.1,mnist1d@0.1,watch")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--devices", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--public-labels", action="store_true", help="use them; without, none has any")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    options = parser.parse_args()
    # What regimes.py asks for: no default method, no claim's seeds.
    options.first_seed, options.families, options.method = 0, None, ""
    options.no_public_labels = not options.public_labels
    best = []
    for name in names(options.methods) or ():
        try:
            if name not in GRIDS:
                raise unknown_name("--methods", name, GRIDS)
            found = measured(options, settings_of(name))
        except FedstillError as error:
            parser.exit(2, f"tune_baselines: {name}: {error}\n")
        show(name, found, names(options.cells) or ())
        best.append(best_of(found))
    print("--baselines " + ",".join(best))
    return 0


if __name__ == "__main__":
    sys.exit(main())
