"""`compare.json`: methods over splits and seeds, each figure with its mean and 95 % interval.

A run that failed is listed under `failed` with its reason; a method's figures are over the seeds that
finished, which are listed. Differences are paired: only seeds that both methods finished count.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedstill_server.config.codec import from_json

from fedstill_sim.compare.estimate import Estimate
from fedstill_sim.folder import file_name
from fedstill_sim.results.json_files import ResultError, read_json, write_json
from fedstill_sim.results.run_result import DataResult, RoundResult, RunResult
from fedstill_sim.results.verdict import Verdict, accuracy_verdict, bytes_verdict, exchanges

COMPARISON_VERSION = 3
COMPARISON_FILE = "compare.json"
BASELINES = ("local", "fedavg")


@dataclass(frozen=True, kw_only=True)
class Split:
    """The data of a part of the comparison, and how it is split over devices.

    Attributes:
        dataset: A built-in data set, or None.
        data: A folder of one's own data, or None.
        dirichlet: The alpha of a Dirichlet split; None is the data's own split.
        epsilon: The privacy budget of the runs; None is what the comparison's other options say.
    """

    dataset: str | None
    data: str | None
    dirichlet: float | None
    epsilon: float | None = None

    @property
    def name(self) -> str:
        """The split's name in tables: digits, Dirichlet 0.1, epsilon 8."""
        parts = [self.dataset or Path(self.data or "").name]
        parts += [] if self.dirichlet is None else [f"Dirichlet {self.dirichlet:g}"]
        parts += [] if self.epsilon is None else [f"epsilon {self.epsilon:g}"]
        return ", ".join(parts)

    @property
    def folder_name(self) -> str:
        """The split's name in paths: digits-dirichlet-0.1."""
        name = self.name.replace(", Dirichlet ", "-dirichlet-").replace(", epsilon ", "-epsilon-")
        return file_name(name)


@dataclass(frozen=True, kw_only=True)
class RoundEstimate:
    """A round over the seeds; accuracies are None where the round was not evaluated."""

    round: int
    personal_accuracy: Estimate | None
    global_accuracy: Estimate | None
    worst_device_accuracy: Estimate | None
    bytes_so_far_per_device: float


@dataclass(frozen=True, kw_only=True)
class MethodEstimate:
    """A method on a split, over the seeds that finished, in their order."""

    method: str
    seeds: tuple[int, ...]
    personal_accuracy: Estimate
    global_accuracy: Estimate
    worst_device_accuracy: Estimate
    uplink_bytes_per_device_round: Estimate
    downlink_bytes_per_device_round: Estimate
    total_bytes_per_device_round: Estimate
    quarantined: int
    max_abs_logit_difference: float | None
    rounds: tuple[RoundEstimate, ...]


@dataclass(frozen=True, kw_only=True)
class Advantage:
    """A method minus a reference, over the seeds that both finished; the bytes both ways are a ratio."""

    method: str
    baseline: str
    seeds: tuple[int, ...]
    personal_accuracy: Estimate
    global_accuracy: Estimate
    worst_device_accuracy: Estimate
    bytes_ratio: float | None


@dataclass(frozen=True, kw_only=True)
class FailedRun:
    """A run without a result, and why."""

    method: str
    seed: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class SplitComparison:
    """The comparison on one split; `data` is None, and `methods` lacks a method, where no run finished."""

    split: Split
    data: DataResult | None
    methods: dict[str, MethodEstimate]
    failed: tuple[FailedRun, ...]
    advantages: tuple[Advantage, ...]
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, kw_only=True)
class ComparisonTiming:
    """Seconds on the clock in all, and for the rounds by split and method."""

    finished: str
    total_seconds: float
    rounds_seconds: dict[str, dict[str, float]]
    device_rounds_per_second: dict[str, dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class ComparisonResult:
    """A finished comparison of `methods` over `seeds`, as they were asked for."""

    schema_version: int = COMPARISON_VERSION
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    splits: tuple[SplitComparison, ...]
    config: dict[str, Any]
    versions: dict[str, str]
    timing: ComparisonTiming
    attack: str = ""  # who lied in every run, and how, in words; "" where nobody did

    @property
    def failed(self) -> int:
        """How many runs have no result."""
        return sum(len(on_split.failed) for on_split in self.splits)

    @property
    def complete(self) -> bool:
        """Whether every run that was asked for has a result."""
        return self.failed == 0


@dataclass(frozen=True, kw_only=True)
class SplitRuns:
    """The finished runs on a split, and those that failed."""

    split: Split
    finished: tuple[RunResult, ...]
    failed: tuple[FailedRun, ...] = ()

    def by_seed(self, method: str) -> dict[int, RunResult]:
        """Return the finished runs of a method by seed, in the order of seeds."""
        return {run.seed: run for run in sorted(self.finished, key=_seed) if run.method == method}


def _seed(run: RunResult) -> int:
    return run.seed


def compare_runs(
    splits: Sequence[SplitRuns],
    *,
    methods: Sequence[str],
    seeds: Sequence[int],
    references: Sequence[str],
    config: dict[str, Any],
    timing: ComparisonTiming,
) -> ComparisonResult:
    """Compare runs.

    Args:
        splits: The runs on each split.
        methods: The methods, in the order of the table.
        seeds: The seeds that were asked for.
        references: The methods that all others are compared with.
        config: The comparison's configuration, for its report.
        timing: How long it took.
    """
    finished = [run for runs in splits for run in runs.finished]
    return ComparisonResult(
        methods=tuple(methods),
        seeds=tuple(seeds),
        splits=tuple(_split(runs, methods, references, alone=len(splits) == 1) for runs in splits),
        config=config,
        attack=next(
            (run.attack.who(len(run.devices)) for runs in splits for run in runs.finished if run.attack), ""
        ),
        versions=finished[0].versions if finished else {},
        timing=timing,
    )


def comparison_timing(splits: Sequence[SplitRuns], *, total_seconds: float) -> ComparisonTiming:
    """Sum up how long the runs of a comparison took."""

    def by_method(figure: Callable[[Sequence[RunResult]], float]) -> dict[str, dict[str, float]]:
        return {
            runs.split.name: {
                method: figure(list(runs.by_seed(method).values()))
                for method in dict.fromkeys(run.method for run in runs.finished)
            }
            for runs in splits
        }

    return ComparisonTiming(
        finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        total_seconds=total_seconds,
        rounds_seconds=by_method(lambda runs: sum(sum(run.timing.round_seconds) for run in runs)),
        device_rounds_per_second=by_method(
            lambda runs: sum(run.engine.device_rounds_per_second for run in runs) / len(runs)
        ),
    )


def write_comparison(comparison: ComparisonResult, path: Path) -> None:
    """Write a compare.json whole: a reader sees the old file or the new one, never a part."""
    write_json(path, dataclasses.asdict(comparison))


def read_comparison(path: Path) -> ComparisonResult:
    """Read a compare.json.

    Raises:
        ResultError: There is no such file, or another version wrote it.
        ConfigError: A field does not hold what it should; the message names it.
    """
    document = read_json(path)
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != COMPARISON_VERSION:
        raise ResultError(f"{path}: schema_version is {version!r}, this fedstill reads {COMPARISON_VERSION}")
    return from_json(ComparisonResult, document, where=str(path))


def _split(
    runs: SplitRuns, asked: Sequence[str], references: Sequence[str], *, alone: bool
) -> SplitComparison:
    by_method = {method: by_seed for method in asked if (by_seed := runs.by_seed(method))}
    methods = {method: _method(method, list(by_seed.values())) for method, by_seed in by_method.items()}
    advantages = tuple(
        advantage
        for method in methods
        for reference in references
        if method not in references and reference in methods
        if (advantage := _advantage(method, by_method[method], reference, by_method[reference])) is not None
    )
    prefix = "" if alone else f"{runs.split.name}: "
    return SplitComparison(
        split=runs.split,
        data=runs.finished[0].data if runs.finished else None,
        methods=methods,
        failed=runs.failed,
        advantages=advantages,
        verdicts=tuple(
            line for advantage in advantages for line in _verdicts(advantage, by_method, prefix=prefix)
        ),
    )


def _method(method: str, runs: Sequence[RunResult]) -> MethodEstimate:
    differences = [run.final.max_abs_logit_difference for run in runs]
    return MethodEstimate(
        method=method,
        seeds=tuple(run.seed for run in runs),
        personal_accuracy=_estimate(runs, lambda run: run.final.personal_accuracy),
        global_accuracy=_estimate(runs, lambda run: run.final.global_accuracy),
        worst_device_accuracy=_estimate(runs, lambda run: run.final.worst_device_accuracy),
        uplink_bytes_per_device_round=_estimate(runs, lambda run: run.final.uplink_bytes_per_device_round),
        downlink_bytes_per_device_round=_estimate(
            runs, lambda run: run.final.downlink_bytes_per_device_round
        ),
        total_bytes_per_device_round=_estimate(runs, lambda run: run.final.total_bytes_per_device_round),
        quarantined=sum(run.final.quarantined for run in runs),
        max_abs_logit_difference=max((value for value in differences if value is not None), default=None),
        rounds=tuple(_round([run.rounds for run in runs], index) for index in range(len(runs[0].rounds))),
    )


def _round(rounds: Sequence[Sequence[RoundResult]], index: int) -> RoundEstimate:
    here = [run[index] for run in rounds]
    spent = [finished.total_bytes_per_device_round for run in rounds for finished in run[: index + 1]]
    return RoundEstimate(
        round=here[0].round,
        personal_accuracy=_maybe([finished.personal_accuracy for finished in here]),
        global_accuracy=_maybe([finished.global_accuracy for finished in here]),
        worst_device_accuracy=_maybe([finished.worst_device_accuracy for finished in here]),
        bytes_so_far_per_device=sum(spent) / len(rounds),
    )


def _advantage(
    method: str, own: Mapping[int, RunResult], reference: str, theirs: Mapping[int, RunResult]
) -> Advantage | None:
    """Compare two methods seed by seed: both had the same split, students and order of batches."""
    seeds = tuple(seed for seed in own if seed in theirs)
    if not seeds:
        return None

    def differences(name: str) -> Estimate:
        return Estimate.of(
            [
                _known(getattr(own[seed].final, name)) - _known(getattr(theirs[seed].final, name))
                for seed in seeds
            ]
        )

    sent, sent_by_other = (
        sum(runs[seed].final.total_bytes_per_device_round for seed in seeds) for runs in (own, theirs)
    )
    comparable = exchanges(reference) and sent_by_other > 0
    return Advantage(
        method=method,
        baseline=reference,
        seeds=seeds,
        personal_accuracy=differences("personal_accuracy"),
        global_accuracy=differences("global_accuracy"),
        worst_device_accuracy=differences("worst_device_accuracy"),
        bytes_ratio=sent / sent_by_other if comparable else None,
    )


def _verdicts(
    advantage: Advantage, runs: Mapping[str, Mapping[int, RunResult]], *, prefix: str
) -> list[Verdict]:
    """Make verdicts of means over the seeds that both have, so that they differ by what is stated."""
    own, theirs = (
        _method(name, [runs[name][seed] for seed in advantage.seeds])
        for name in (advantage.method, advantage.baseline)
    )
    lines = [
        accuracy_verdict(
            kind,
            getattr(own, f"{kind}_accuracy").mean,
            advantage.baseline,
            getattr(theirs, f"{kind}_accuracy").mean,
            interval=getattr(advantage, f"{kind}_accuracy").half_width,
        )
        for kind in ("personal", "global")
    ]
    lines.append(
        bytes_verdict(
            own.total_bytes_per_device_round.mean,
            advantage.baseline,
            theirs.total_bytes_per_device_round.mean,
        )
    )
    return [
        dataclasses.replace(line, text=f"{prefix}{advantage.method}: {line.text}")
        for line in lines
        if line is not None
    ]


def _estimate(runs: Sequence[RunResult], figure: Callable[[RunResult], float | None]) -> Estimate:
    return Estimate.of([_known(figure(run)) for run in runs])


def _maybe(values: Sequence[float | None]) -> Estimate | None:
    measured = [value for value in values if value is not None]
    return Estimate.of(measured) if len(measured) == len(values) else None


def _known(value: float | None) -> float:
    if value is None:
        raise ResultError("compare: a run ended without an accuracy; its devices need test examples")
    return value
