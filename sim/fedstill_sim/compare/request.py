"""Comparisons: a run for each method, split and seed, then what they show together."""

from __future__ import annotations

import dataclasses
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedstill_server.config.codec import from_json, to_json

from fedstill_sim.compare.exports import write_exports
from fedstill_sim.compare.jobs import RunJob, failure_of, forget_failure, run_jobs
from fedstill_sim.compare.report import REPORT_FILE, write_comparison_report
from fedstill_sim.compare.result import (
    BASELINES,
    COMPARISON_FILE,
    ComparisonResult,
    FailedRun,
    Split,
    SplitRuns,
    compare_runs,
    comparison_timing,
    read_comparison,
    write_comparison,
)
from fedstill_sim.config import requested_data, resolve
from fedstill_sim.folder import CONFIG_FILE, claim_folder, file_name
from fedstill_sim.progress import ComparisonProgress
from fedstill_sim.request import RequestError, RunRequest, check_compared, method_options_of, option_words
from fedstill_sim.results.json_files import read_json, write_json
from fedstill_sim.results.readable import readable_percent
from fedstill_sim.results.run_result import RESULT_FILE, RunResult, read_result

_COMPARISON = "comparison"  # the key of config.json that tells a comparison from a run
_SECONDS_FILE = "seconds.json"


@dataclass(frozen=True, kw_only=True)
class CompareRequest:
    """The comparison that a person asked for.

    Attributes:
        methods: The methods to compare.
        seeds: How many seeds.
        run: The run that each method makes.
        first_seed: The first of the seeds; the others follow it.
        splits: The splits; none is the one of `run`.
        reference: The method that all others are compared with; None is both baselines.
    """

    methods: tuple[str, ...]
    seeds: int
    run: RunRequest
    first_seed: int = 0
    splits: tuple[Split, ...] = ()
    reference: str | None = None

    def __post_init__(self) -> None:
        check_compared(self.run, self.methods, reference=self.reference)
        folders = [split.folder_name for split in self.all_splits()]
        if twice := {name for name in folders if folders.count(name) > 1}:
            raise RequestError(f"splits: {', '.join(sorted(twice))} is asked for twice; name each once")

    def all_splits(self) -> tuple[Split, ...]:
        """Return the splits, at least one."""
        run = self.run
        alone = Split(dataset=run.dataset, data=run.data, dirichlet=run.dirichlet, epsilon=run.epsilon)
        return self.splits or (alone,)

    @property
    def all_seeds(self) -> range:
        """The seeds, one run of each method for each."""
        return range(self.first_seed, self.first_seed + self.seeds)

    @property
    def references(self) -> tuple[str, ...]:
        """The methods that all others are compared with."""
        return BASELINES if self.reference is None else (self.reference,)

    def command(self) -> str:
        """Return the command line that asks for this comparison, with DIR for the folder."""
        splits = self.all_splits()
        datasets = dict.fromkeys(split.dataset for split in splits if split.dataset is not None)
        folders = dict.fromkeys(split.data for split in splits if split.data is not None)
        alphas = dict.fromkeys(split.dirichlet for split in splits if split.dataset is not None)
        words = ["fedstill-sim", "compare", *([",".join(datasets)] if datasets else [])]
        words += [word for folder in folders for word in ("--data", folder)]
        if tuple(alphas) not in ((), (None,)):
            words += ["--dirichlet", ",".join("none" if alpha is None else f"{alpha:g}" for alpha in alphas)]
        epsilons = dict.fromkeys(split.epsilon for split in splits)
        if tuple(epsilons) != (None,):
            words += [
                "--epsilon",
                ",".join("none" if epsilon is None else f"{epsilon:g}" for epsilon in epsilons),
            ]
        skipped = ("dataset", "data", "dirichlet", "epsilon", "method", "seed", "baselines", "tradeoff")
        words += option_words(self.run, skip=skipped)
        words += ["--methods", ",".join(self.methods), "--seeds", str(self.seeds)]
        words += ["--first-seed", str(self.first_seed)] if self.first_seed else []
        words += [] if self.reference is None else ["--reference", self.reference]
        return shlex.join([*words, "--out", "DIR"])

    def jobs(self, folder: Path) -> list[RunJob]:
        """List the runs seed by seed, so that a stopped comparison has all methods alike."""
        splits = self.all_splits()
        return [
            self._job(folder / "runs", split, method, seed, alone=len(splits) == 1)
            for seed in self.all_seeds
            for split in splits
            for method in self.methods
        ]

    def _job(self, folder: Path, split: Split, method: str, seed: int, *, alone: bool) -> RunJob:
        run = dataclasses.replace(
            self.of_method(self.on(split), method), seed=seed, baselines=(), tradeoff=False
        )
        place = folder if alone else folder / split.folder_name
        label = f"{method} seed {seed}" if alone else f"{split.name}: {method} seed {seed}"
        return RunJob(run, place / f"{file_name(method)}-seed{seed}", label)

    def of_method(self, run: RunRequest, method: str) -> RunRequest:
        """The run by a method, with those of the options that it has."""
        return dataclasses.replace(run, method=method, method_options=method_options_of(run, method))

    def on(self, split: Split) -> RunRequest:
        """Return the run on a split.

        A folder brings its own devices, whatever --devices says. Where splits differ in their epsilon, one
        without has no privacy at all.
        """
        devices = None if split.data is not None else self.run.devices
        run = dataclasses.replace(
            self.run, dataset=split.dataset, data=split.data, dirichlet=split.dirichlet, devices=devices
        )
        if self.run.epsilon is None:
            return run
        if split.epsilon is None:
            return dataclasses.replace(run, privacy=None, epsilon=None, delta=None, clip=None)
        return dataclasses.replace(run, epsilon=split.epsilon)


def start_comparison(request: CompareRequest, folder: Path, *, force: bool) -> None:
    """Write a comparison's configuration into a folder; one that cannot be met claims none.

    Raises:
        FolderError: The folder holds something that must not be replaced.
    """
    for split in request.all_splits():
        run = request.on(split)
        data = requested_data(run)
        for method in request.methods:
            resolve(request.of_method(run, method), data)
    claim_folder(folder, force=force)
    write_json(folder / CONFIG_FILE, {_COMPARISON: {"command": request.command(), **to_json(request)}})


def is_comparison(folder: Path) -> bool:
    """Return whether a folder holds a comparison, and not a run."""
    path = folder / CONFIG_FILE
    return path.is_file() and _COMPARISON in read_json(path)


def continue_comparison(
    folder: Path,
    progress: ComparisonProgress,
    *,
    report: bool,
    processes: int = 1,
    retry_failed: bool = False,
) -> ComparisonResult:
    """Make every run that is not finished, then compare.json, its exports and the report.

    Args:
        folder: The comparison.
        progress: Told of runs and of their rounds.
        report: Whether compare.html is written.
        processes: How many runs go on at a time.
        retry_failed: Make runs again that have failed; otherwise they stay failed.
    """
    if retry_failed:
        _forget_failures(folder)
    if (folder / COMPARISON_FILE).exists():
        comparison = read_comparison(folder / COMPARISON_FILE)
    else:
        comparison = _compare(folder, progress, processes=processes)
    write_exports(comparison, folder)
    if report:
        progress.phase("writing the report")
        write_comparison_report(comparison, folder / REPORT_FILE)
    return comparison


def _compare(folder: Path, progress: ComparisonProgress, *, processes: int) -> ComparisonResult:
    config = read_json(folder / CONFIG_FILE)
    request = _read_request(folder)
    jobs = request.jobs(folder)
    waiting = [job for job in jobs if not _is_over(job)]
    progress.runs(total=len(jobs), done=len(jobs) - len(waiting))
    if processes > 1:  # the cores are for the runs
        waiting = [job._replace(request=_in_one_process(job.request)) for job in waiting]
    run_jobs(waiting, processes=processes, progress=progress, finished=_follow(folder, progress))
    splits = [_runs_on(split, request, jobs) for split in request.all_splits()]
    comparison = compare_runs(
        splits,
        methods=request.methods,
        seeds=request.all_seeds,
        references=request.references,
        config=config,
        timing=comparison_timing(splits, total_seconds=_seconds(folder)),
    )
    write_comparison(comparison, folder / COMPARISON_FILE)
    return comparison


def _in_one_process(run: RunRequest) -> RunRequest:
    return run if run.processes is not None else dataclasses.replace(run, processes=0)


def _is_over(job: RunJob) -> bool:
    return (job.folder / RESULT_FILE).exists() or failure_of(job.folder) is not None


def _follow(folder: Path, progress: ComparisonProgress) -> Callable[[RunJob], None]:
    began = time.monotonic()

    def finished(job: RunJob) -> None:
        nonlocal began
        now = time.monotonic()
        _add_seconds(folder, now - began)
        began = now
        failure = failure_of(job.folder)
        progress.run_done(job.label, failed=failure is not None, text=failure or _figures(job.folder))

    return finished


def _figures(run_folder: Path) -> str:
    final = read_result(run_folder / RESULT_FILE).final
    return (
        f"personal {readable_percent(final.personal_accuracy)}  "
        f"global {readable_percent(final.global_accuracy)}"
    )


def _runs_on(split: Split, request: CompareRequest, jobs: Sequence[RunJob]) -> SplitRuns:
    asked = request.on(split)
    finished: list[RunResult] = []
    failed: list[FailedRun] = []
    for job in jobs:
        run = job.request
        if _place(run) != _place(asked):
            continue
        reason = failure_of(job.folder)
        if reason is None:
            finished.append(read_result(job.folder / RESULT_FILE))
        else:
            failed.append(FailedRun(method=run.method, seed=run.seed, reason=reason))
    return SplitRuns(split=split, finished=tuple(finished), failed=tuple(failed))


def _place(run: RunRequest) -> tuple[object, ...]:
    return run.dataset, run.data, run.dirichlet, run.epsilon


def _forget_failures(folder: Path) -> None:
    failed = [job.folder for job in _read_request(folder).jobs(folder) if failure_of(job.folder) is not None]
    for run_folder in failed:
        forget_failure(run_folder)
    if failed:
        (folder / COMPARISON_FILE).unlink(missing_ok=True)


def _seconds(folder: Path) -> float:
    path = folder / _SECONDS_FILE
    return float(read_json(path)["total"]) if path.exists() else 0.0


def _add_seconds(folder: Path, seconds: float) -> None:
    write_json(folder / _SECONDS_FILE, {"total": _seconds(folder) + seconds})


def _read_request(folder: Path) -> CompareRequest:
    path = folder / CONFIG_FILE
    document: dict[str, Any] = read_json(path)[_COMPARISON]
    asked = {name: value for name, value in document.items() if name != "command"}
    return from_json(CompareRequest, asked, where=f"{path}: {_COMPARISON}")
