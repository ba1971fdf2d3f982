"""The promise of the default method: never worse than the better of training alone and federated averaging.

    python benchmarks/regimes.py --out runs/regimes            # two data sets, five skews, five seeds: hours
    python benchmarks/regimes.py --datasets digits --dirichlet 0.1 --seeds 1 --out runs/one
    python benchmarks/regimes.py --no-public-labels --out runs/unlabelled

On each split all methods get the same devices, the same starting students and the same local work. A split
holds where the method's personal accuracy and its global accuracy are each no more than a point below the
better of `local` and `fedavg` (the one with the higher mean over the seeds), and above both where those two
are more than ten points apart. Differences are paired by seed, with the 95 % interval of their mean.

Finished runs stay in --out: the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from fedstill_proto.errors import FedstillError
from fedstill_sim.compare.estimate import Estimate
from fedstill_sim.compare.request import CompareRequest, continue_comparison, is_comparison, start_comparison
from fedstill_sim.compare.result import Split, SplitComparison
from fedstill_sim.data.registry import DATASETS
from fedstill_sim.folder import CONFIG_FILE
from fedstill_sim.progress import LineProgress
from fedstill_sim.request import RunRequest, names
from fedstill_sim.results.json_files import read_json
from rich.console import Console

ALPHAS = "0.01,0.1,0.5,1,5"
BASELINES = ("local", "fedavg")
ALLOWED = 0.01  # below the better baseline
FAR_APART = 0.10  # of the two baselines
KINDS = ("personal", "global")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judgement:
    """One accuracy on one split: shares of 1; the difference is to the better baseline, seed by seed."""

    split: str
    kind: str
    own: Estimate
    local: Estimate
    fedavg: Estimate
    better: str
    difference: Estimate
    far_apart: bool
    holds: bool


def judge(split: SplitComparison, method: str) -> list[Judgement]:
    """Judge both accuracies of a split on which all three methods have finished the same seeds."""
    judgements = []
    for kind in KINDS:
        own, local, fedavg = (
            getattr(split.methods[name], f"{kind}_accuracy") for name in (method, *BASELINES)
        )
        better, best = ("local", local) if local.mean >= fedavg.mean else ("fedavg", fedavg)
        difference = Estimate.of([a - b for a, b in zip(own.values, best.values, strict=True)])
        far_apart = abs(local.mean - fedavg.mean) > FAR_APART
        judgements.append(
            Judgement(
                split=split.split.name,
                kind=kind,
                own=own,
                local=local,
                fedavg=fedavg,
                better=better,
                difference=difference,
                far_apart=far_apart,
                holds=difference.mean > 0 if far_apart else difference.mean >= -ALLOWED,
            )
        )
    return judgements


def request(options: argparse.Namespace, split: Split) -> CompareRequest:
    """Return the comparison to make on a split."""
    run = RunRequest(
        method=options.method,
        dataset=split.dataset,
        devices=options.devices,
        dirichlet=split.dirichlet,
        families=names(options.families) or (),
        rounds=options.rounds,
        use_public_labels=False if options.no_public_labels else None,
        public_batch=options.public_batch,
        evaluate_every=1_000,
        baselines=(),
        tradeoff=False,
        # What README's table was measured with: the server's students came with the tasks.
        method_options={"start_from": options.start_from},
    )
    return CompareRequest(methods=(options.method, *BASELINES), seeds=options.seeds, run=run)


def make_runs(options: argparse.Namespace, split: Split) -> SplitComparison:
    """Make all runs on a split that are not there yet."""
    folder, wanted = options.out / split.folder_name, request(options, split)
    if not is_comparison(folder):
        start_comparison(wanted, folder, force=False)
    kept = read_json(folder / CONFIG_FILE)["comparison"]["command"]
    if kept != wanted.command():
        raise FedstillError(f"{folder} holds another comparison ({kept}); give another --out")
    progress = LineProgress(Console(stderr=True))
    comparison = continue_comparison(folder, progress, report=False, processes=options.jobs)
    if not comparison.complete:
        raise FedstillError(f"{comparison.failed} runs failed; {folder}/compare.json says why")
    return comparison.splits[0]


def table_row(one: Judgement) -> str:
    """Return a row of the table."""
    reach = f"{100 * one.difference.mean:+5.1f} ± {100 * (one.difference.half_width or 0):4.1f}"
    figures = "".join(f"{100 * each.mean:9.1f} %" for each in (one.own, one.local, one.fedavg))
    verdict = ("holds" if one.holds else "FAILS") + (" (far apart)" if one.far_apart else "")
    return f"{one.split:24s} {one.kind:8s}{figures}   {reach}   {verdict}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/regimes"), help="where runs are kept")
    parser.add_argument("--datasets", default=",".join(DATASETS))
    parser.add_argument("--dirichlet", default=ALPHAS, help="skews, with commas between")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--devices", type=int, default=20)
    parser.add_argument("--families", help="student families; all three unless said")
    parser.add_argument("--rounds", type=int, help="20 of digits, 40 of mnist1d unless said")
    parser.add_argument("--method", default="fedstill")
    parser.add_argument("--public-batch", type=int, help="public rows that a round asks about")
    parser.add_argument(
        "--start-from", default="task", help="where devices start: task, as README's table; installed; own"
    )
    parser.add_argument("--no-public-labels", action="store_true")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    options = parser.parse_args()
    splits = [
        Split(dataset=dataset, data=None, dirichlet=float(alpha))
        for dataset in names(options.datasets) or DATASETS
        for alpha in names(options.dirichlet) or ()
    ]
    cells, uplink = [], {}
    if not options.json:
        print(
            f"{'split':24s} accuracy {options.method:>10s}      local     fedavg    to the better   verdict"
        )
    for split in splits:
        try:
            done = make_runs(options, split)
        except FedstillError as error:
            parser.exit(2, f"regimes: {error}\n")
        uplink[split.name] = done.methods[options.method].uplink_bytes_per_device_round.mean
        for one in judge(done, options.method):
            cells.append(one)
            if not options.json:
                print(table_row(one), flush=True)
    failed = sum(not one.holds for one in cells)
    document: dict[str, Any] = {
        "method": options.method,
        "holds": failed == 0,
        "cells": [dataclasses.asdict(one) for one in cells],
        "uplink_bytes_per_device_round": uplink,
    }
    if options.json:
        print(json.dumps(document, indent=1))
    else:
        print(
            "uplink bytes a device-round: " + ", ".join(f"{name} {sent:.0f}" for name, sent in uplink.items())
        )
        print(f"{len(cells) - failed} of {len(cells)} hold")
    return 0 if failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
