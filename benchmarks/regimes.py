"""The promise of the default method, judged: one answer, nowhere far behind the best of the others.

    python benchmarks/regimes.py --out runs/regimes                     # every cell, five seeds: many hours
    python benchmarks/regimes.py --cells digits@0.1,watch --seeds 2 --first-seed 1000 --out runs/few
    python benchmarks/regimes.py --cells my-fleet/ --baselines local,fedavg --out runs/folder

A cell is a data set and its skew: one that `fedstill-sim` knows, one of `benchmarks.sets`, or a folder of
one's own; without @alpha it is dealt out as it comes, watch naturally. In a cell all methods have the same
devices, starting students and local work. Every method is one caller: its personal and its global accuracy
are of the same answers. A cell holds where

    the mean of the two is at most a point below that of the best baseline, paired by seed,
    its bytes a device-round, up and down, are at most a quarter of those of fedavg in 8 bits, and
    at most a tenth of the devices are more than five points below `local` on their own examples.

A method is a name and its options, and some of its run, as fedavg+weights=4bit+learning_rate=0.05. Finished
runs stay in --out: the same command goes on where it was stopped, and a larger one takes up what is there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from fedstill_proto.errors import FedstillError
from fedstill_server.config.codec import ConfigError
from fedstill_server.config.options import options_of
from fedstill_server.config.run_options import read_settings
from fedstill_sim.compare.estimate import Estimate
from fedstill_sim.compare.jobs import RunJob, failure_of, forget_failure, run_jobs
from fedstill_sim.compare.table import percent_cell
from fedstill_sim.config import requested_data, resolve
from fedstill_sim.data.registry import DATASETS
from fedstill_sim.folder import CONFIG_FILE, file_name
from fedstill_sim.progress import LineProgress
from fedstill_sim.request import RunRequest, command_line, names
from fedstill_sim.results.json_files import read_json
from fedstill_sim.results.readable import readable_bytes, readable_ratio
from fedstill_sim.results.run_result import RESULT_FILE, RunResult, read_result
from rich.console import Console

ALPHAS = (0.01, 0.1, 1, 10)
CELLS = ",".join(
    [f"{name}@{alpha}" for name in ("digits", "mnist1d", "mnist5k", "strokes") for alpha in ALPHAS]
    + ["watch", "watch_800rows_unlabelled", "strokes1000@1", "assistant@0.1"]
    + [f"digits_{changed}@0.1" for changed in ("inverted", "noise", "20rows", "3classes", "5renamed")]
)
SENT = "fedavg"  # which sends students in 8 bits
BASELINES = f"local,public-only,{SENT},fedavg-ft,fedavg+personal_epochs=20"
ALLOWED = 0.01  # below the best baseline
RUN = [
    one for one in options_of(RunRequest) if one.name in ("families", "learning_rate", "epochs", "optimizer")
]
BYTES = 1 / 4  # of those of fedavg in 8 bits
FAR_BELOW = 0.05  # below `local`, of a device
MOST_FAR_BELOW = 0.10  # of the devices


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """A data set and its skew; `data` is a folder, where it is one."""

    name: str
    dataset: str | None
    data: str | None
    dirichlet: float | None

    @classmethod
    def of(cls, text: str) -> Cell:
        """Read a cell, such as digits@0.1, watch or my-fleet/."""
        source, _, alpha = text.partition("@")
        dirichlet = float(alpha) if alpha else None
        if source.endswith("/") or Path(source).is_dir():
            return cls(name=Path(source).name, dataset=None, data=source, dirichlet=dirichlet)
        known = source in DATASETS or ":" in source
        dataset = source if known else f"benchmarks.sets:{source}"
        return cls(name=text, dataset=dataset, data=None, dirichlet=dirichlet)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figures:
    """What a method came to in a cell; accuracies are shares of 1, a value for each seed.

    Attributes:
        personal: On the devices' own examples.
        everyone: On everyone's, by the same answers.
        mean: Of the two.
        bytes: A device-round's, up and down.
        devices: The personal accuracy of each device that has test examples, seed after seed.
    """

    personal: Estimate
    everyone: Estimate
    mean: Estimate
    bytes: Estimate
    devices: tuple[float, ...]

    @classmethod
    def of(cls, runs: Sequence[RunResult]) -> Figures:
        """Sum up a method's runs, one for each seed."""
        personal = [run.final.personal_accuracy or 0.0 for run in runs]
        everyone = [run.final.global_accuracy or 0.0 for run in runs]
        owners = [device.personal_accuracy for run in runs for device in run.devices]
        return cls(
            personal=Estimate.of(personal),
            everyone=Estimate.of(everyone),
            mean=Estimate.of([(a + b) / 2 for a, b in zip(personal, everyone, strict=True)]),
            bytes=Estimate.of([run.final.total_bytes_per_device_round for run in runs]),
            devices=tuple(each for each in owners if each is not None),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judgement:
    """The verdict on a method in a cell.

    Attributes:
        best: The baseline with the highest mean of personal and global accuracy.
        difference: The method's mean minus that baseline's, seed by seed.
        bytes_ratio: To fedavg's; None where that did not run.
        far_below: The share of the devices more than five points below `local`; None where that did not run.
    """

    cell: str
    best: str
    difference: Estimate
    bytes_ratio: float | None
    far_below: float | None
    figures: Mapping[str, Figures]

    @property
    def misses(self) -> list[str]:
        """What the method falls short of."""
        missed = {
            "accuracy": self.difference.mean < -ALLOWED,
            "bytes": (self.bytes_ratio or 0.0) > BYTES,
            "devices": (self.far_below or 0.0) > MOST_FAR_BELOW,
        }
        return [name for name, does in missed.items() if does]


def judge(cell: str, method: str, figures: Mapping[str, Figures]) -> Judgement:
    """Judge a method in a cell in which it and its baselines ran with the same seeds."""
    own = figures[method]
    best = max((name for name in figures if name != method), key=lambda name: figures[name].mean.mean)
    pairs = zip(own.mean.values, figures[best].mean.values, strict=True)
    sent, local = figures.get(SENT), figures.get("local")
    below = [] if local is None else list(zip(own.devices, local.devices, strict=True))
    return Judgement(
        cell=cell,
        best=best,
        difference=Estimate.of([a - b for a, b in pairs]),
        bytes_ratio=own.bytes.mean / sent.bytes.mean if sent else None,
        far_below=sum(a < b - FAR_BELOW for a, b in below) / len(below) if below else None,
        figures=figures,
    )


def run_of(options: argparse.Namespace, cell: Cell, method: str, seed: int) -> RunRequest:
    """The run of a method in a cell; of the rounds only the last one is evaluated."""
    name, *given = method.split("+")
    settings = read_settings(given, where="--baselines")
    of_run = {one.name: one.read(settings.pop(one.name)) for one in RUN if one.name in settings}
    request = RunRequest(
        method=name,
        method_options=settings,
        dataset=cell.dataset,
        data=cell.data,
        dirichlet=cell.dirichlet,
        devices=None if cell.data else options.devices,
        families=names(options.families) or (),
        rounds=options.rounds,
        seed=seed,
        use_public_labels=False if options.no_public_labels else None,
        evaluate_every=1_000,
        baselines=(),
        tradeoff=False,
        processes=0,
    )
    return dataclasses.replace(request, **of_run)


def possible(options: argparse.Namespace, cell: Cell, baseline: str) -> bool:
    """Whether a baseline can be run in a cell: public-only has nothing to learn without public labels."""
    request = run_of(options, cell, baseline, options.first_seed)
    try:
        resolve(request, requested_data(request))
    except ConfigError as error:
        print(f"{cell.name}: {baseline} is left out: {error}", file=sys.stderr)
        return False
    return True


def make_runs(options: argparse.Namespace, cell: Cell, methods: Sequence[str]) -> dict[str, Figures]:
    """Make all runs in a cell that are not there yet.

    Raises:
        FedstillError: A run failed, or --out holds one by another command.
    """
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    methods = [each for each in methods if each == options.method or possible(options, cell, each)]
    place = options.out / file_name(cell.name.replace("@", "-dirichlet-"))
    jobs = {
        (method, seed): RunJob(
            run_of(options, cell, method, seed),
            place / f"{file_name(method)}-seed{seed}",
            f"{cell.name}: {method} seed {seed}",
        )
        for seed in seeds
        for method in methods
    }
    for job in jobs.values():
        forget_failure(job.folder)
        config = job.folder / CONFIG_FILE
        if config.exists():
            kept, wanted = read_json(config)["simulation"]["command"], command_line(job.request)
            if kept != wanted:
                raise FedstillError(f"{job.folder} holds `{kept}`, not `{wanted}`; give another --out")
    waiting = [job for job in jobs.values() if not (job.folder / RESULT_FILE).exists()]
    progress = LineProgress(Console(stderr=True))
    progress.runs(total=len(jobs), done=len(jobs) - len(waiting))

    def finished(job: RunJob) -> None:
        failure = failure_of(job.folder)
        progress.run_done(job.label, failed=failure is not None, text=failure or "done")

    run_jobs(waiting, processes=options.jobs, progress=progress, finished=finished)
    if failed := [f"{job.label}: {why}" for job in waiting if (why := failure_of(job.folder))]:
        raise FedstillError("; ".join(failed))
    return {
        method: Figures.of([read_result(jobs[method, seed].folder / RESULT_FILE) for seed in seeds])
        for method in methods
    }


def show(judgement: Judgement, method: str) -> None:
    """Print a cell: a line for each method, then the verdict."""
    print(f"{judgement.cell}\n  {'method':26s} personal  global    mean   bytes a device-round")
    for name, one in judgement.figures.items():
        shown = "".join(f"{100 * each.mean:8.1f}" for each in (one.personal, one.everyone, one.mean))
        print(f"  {name:26s}{shown}   {readable_bytes(one.bytes.mean)}")
    reach = percent_cell(judgement.difference, signed=True).joined("±")
    verdict = "holds" if not judgement.misses else f"FAILS ({', '.join(judgement.misses)})"
    far = "–" if judgement.far_below is None else f"{100 * judgement.far_below:.0f} %"
    sent = f"{readable_ratio(judgement.bytes_ratio)} of the bytes of {SENT}"
    told = f"{reach} points to {judgement.best}, {sent}, {far} of devices far below local"
    print(f"  {method}: {told}: {verdict}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/regimes"), help="where runs are kept")
    parser.add_argument("--cells", default=CELLS, help="data sets and folders, @ and a skew; commas between")
    parser.add_argument("--method", default="fedstill", help="what is judged")
    parser.add_argument("--baselines", default=BASELINES, help="what it is held against")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=1_000, help="nothing was chosen on 1000 or above")
    parser.add_argument("--devices", type=int, default=12)
    parser.add_argument("--families", help="student families; the task's own unless said")
    parser.add_argument("--rounds", type=int, help="the data set's own unless said")
    parser.add_argument("--no-public-labels", action="store_true")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    options = parser.parse_args()
    methods = tuple(dict.fromkeys((options.method, *(names(options.baselines) or ()))))
    judgements = []
    for text in names(options.cells) or ():
        try:
            figures = make_runs(options, Cell.of(text), methods)
        except FedstillError as error:
            parser.exit(2, f"regimes: {text}: {error}\n")
        judgements.append(judge(text, options.method, figures))
        if not options.json:
            show(judgements[-1], options.method)
    failed = sum(bool(one.misses) for one in judgements)
    if options.json:
        cells = [dataclasses.asdict(one) | {"misses": one.misses} for one in judgements]
        print(json.dumps({"method": options.method, "holds": failed == 0, "cells": cells}, indent=1))
    else:
        print(f"{options.method}: {len(judgements) - failed} of {len(judgements)} cells hold")
    return 0 if failed == 0 else 1


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks.sets, from wherever this is started
    sys.exit(main())
