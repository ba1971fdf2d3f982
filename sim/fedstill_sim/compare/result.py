"""`compare.json`: methods over splits and seeds, each figure with its mean and 95 % interval.

A run that failed stands under `failed` with its reason; a method's figures are of the seeds that finished,
and say which those are. Differences are paired: of two methods, only seeds that both finished count.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedstill_server.config.codec import from_json

from fedstill_sim.compare.estimate import Estimate
from fedstill_sim.results.json_files import ResultError, read_json, write_json
from fedstill_sim.results.run_result import DataResult, RoundResult, RunResult
from fedstill_sim.results.verdict import Verdict, accuracy_verdict, bytes_verdict

COMPARISON_VERSION = 2
COMPARISON_FILE = "compare.json"
BASELINES = ("local", "fedavg")


@dataclass(frozen=True, kw_only=True)
class Split:
    """Which data a part of the comparison is on, and how it is dealt out to devices.

    data: a folder of one's own. dirichlet: None is the data's own way. epsilon: of runs that keep to a
    privacy budget; None: as the comparison's other options say.
    """

    dataset: str | None
    data: str | None
    dirichlet: float | None
    epsilon: float | None = None

    @property
    def name(self) -> str:
        """As it stands in tables: digits, Dirichlet 0.1, epsilon 8."""
        parts = [self.dataset or Path(self.data or "").name]
        parts += [] if self.dirichlet is None else [f"Dirichlet {self.dirichlet:g}"]
        parts += [] if self.epsilon is None else [f"epsilon {self.epsilon:g}"]
        return ", ".join(parts)

    @property
    def folder_name(self) -> str:
        """As it stands in paths: digits-dirichlet-0.1."""
        return self.name.replace(", Dirichlet ", "-dirichlet-").replace(", epsilon ", "-epsilon-")


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
    """One method on one split, over the seeds that finished; its values stand in their order."""

    method: str
    seeds: tuple[int, ...]
    personal_accuracy: Estimate
    global_accuracy: Estimate
    worst_device_accuracy: Estimate
    uplink_bytes_per_device_round: Estimate
    downlink_bytes_per_device_round: Estimate
    quarantined: int
    max_abs_logit_difference: float | None
    rounds: tuple[RoundEstimate, ...]


@dataclass(frozen=True, kw_only=True)
class Advantage:
    """A method minus another, over the seeds that both finished: shares of 1, uplink as a ratio."""

    method: str
    baseline: str
    seeds: tuple[int, ...]
    personal_accuracy: Estimate
    global_accuracy: Estimate
    worst_device_accuracy: Estimate
    uplink_ratio: float | None


@dataclass(frozen=True, kw_only=True)
class FailedRun:
    """A run that has no result, and why."""

    method: str
    seed: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class SplitComparison:
    """One split. data is None where no run finished; a method that finished nothing is not in `methods`."""

    split: Split
    data: DataResult | None
    methods: dict[str, MethodEstimate]
    failed: tuple[FailedRun, ...]
    advantages: tuple[Advantage, ...]
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, kw_only=True)
class ComparisonTiming:
    """Seconds on the clock: of everything, and of the rounds by split and method."""

    finished: str
    total_seconds: float
    rounds_seconds: dict[str, dict[str, float]]
    device_rounds_per_second: dict[str, dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A finished comparison: `methods` and `seeds` as asked for."""

    schema_version: int = COMPARISON_VERSION
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    splits: tuple[SplitComparison, ...]
    config: dict[str, Any]
    versions: dict[str, str]
    timing: ComparisonTiming

    @property
    def failed(self) -> int:
        """Runs without a result."""
        return sum(len(one.failed) for one in self.splits)

    @property
    def complete(self) -> bool:
        """Whether every run that was asked for has a result."""
        return self.failed == 0


@dataclass(frozen=True, kw_only=True)
class SplitRuns:
    """What the runs on one split came to: the finished ones, and why the others are not."""

    split: Split
    finished: tuple[RunResult, ...]
    failed: tuple[FailedRun, ...] = ()

    def by_seed(self, method: str) -> dict[int, RunResult]:
        """The finished runs of a method, in the order of their seeds."""
        return {run.seed: run for run in sorted(self.finished, key=_seed) if run.method == method}


def _seed(run: RunResult) -> int:
    return run.seed


def compared(
    splits: Sequence[SplitRuns],
    *,
    methods: Sequence[str],
    seeds: Sequence[int],
    references: Sequence[str],
    config: dict[str, Any],
    timing: ComparisonTiming,
) -> Comparison:
    """The comparison of all runs. references: the methods that every other is held against."""
    finished = [run for one in splits for run in one.finished]
    return Comparison(
        methods=tuple(methods),
        seeds=tuple(seeds),
        splits=tuple(_split(one, methods, references, alone=len(splits) == 1) for one in splits),
        config=config,
        versions=finished[0].versions if finished else {},
        timing=timing,
    )


def write_comparison(comparison: Comparison, path: Path) -> None:
    """Write compare.json whole."""
    write_json(path, dataclasses.asdict(comparison))


def read_comparison(path: Path) -> Comparison:
    """Read a compare.json; says which field is wrong when it is not one."""
    document = read_json(path)
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != COMPARISON_VERSION:
        raise ResultError(f"{path}: schema_version is {version!r}, this fedstill reads {COMPARISON_VERSION}")
    return from_json(Comparison, document, where=str(path))


def _split(
    runs: SplitRuns, asked: Sequence[str], references: Sequence[str], *, alone: bool
) -> SplitComparison:
    of_method = {method: found for method in asked if (found := runs.by_seed(method))}
    methods = {method: _method(method, list(found.values())) for method, found in of_method.items()}
    advantages = tuple(
        advantage
        for method in methods
        for reference in references
        if method not in references and reference in methods
        if (advantage := _advantage(method, of_method[method], reference, of_method[reference])) is not None
    )
    prefix = "" if alone else f"{runs.split.name}: "
    return SplitComparison(
        split=runs.split,
        data=runs.finished[0].data if runs.finished else None,
        methods=methods,
        failed=runs.failed,
        advantages=advantages,
        verdicts=tuple(line for one in advantages for line in _verdicts(one, of_method, prefix=prefix)),
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
        quarantined=sum(run.final.quarantined for run in runs),
        max_abs_logit_difference=max((value for value in differences if value is not None), default=None),
        rounds=tuple(_round([run.rounds for run in runs], index) for index in range(len(runs[0].rounds))),
    )


def _round(rounds: Sequence[Sequence[RoundResult]], index: int) -> RoundEstimate:
    here = [one[index] for one in rounds]
    spent = [
        one.uplink_bytes_per_device_round + one.downlink_bytes_per_device_round
        for run in rounds
        for one in run[: index + 1]
    ]
    return RoundEstimate(
        round=here[0].round,
        personal_accuracy=_maybe([one.personal_accuracy for one in here]),
        global_accuracy=_maybe([one.global_accuracy for one in here]),
        worst_device_accuracy=_maybe([one.worst_device_accuracy for one in here]),
        bytes_so_far_per_device=sum(spent) / len(rounds),
    )


def _advantage(
    method: str, own: Mapping[int, RunResult], reference: str, theirs: Mapping[int, RunResult]
) -> Advantage | None:
    """Seeds are pairs: both methods had the same split, the same students and the same order of batches."""
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
        sum(runs[seed].final.uplink_bytes_per_device_round for seed in seeds) for runs in (own, theirs)
    )
    comparable = reference != "local" and sent_by_other > 0
    return Advantage(
        method=method,
        baseline=reference,
        seeds=seeds,
        personal_accuracy=differences("personal_accuracy"),
        global_accuracy=differences("global_accuracy"),
        worst_device_accuracy=differences("worst_device_accuracy"),
        uplink_ratio=sent / sent_by_other if comparable else None,
    )


def _verdicts(
    advantage: Advantage, runs: Mapping[str, Mapping[int, RunResult]], *, prefix: str
) -> list[Verdict]:
    """Means are of the seeds that both have, so that they differ by what the verdict says."""
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
            own.uplink_bytes_per_device_round.mean,
            advantage.baseline,
            theirs.uplink_bytes_per_device_round.mean,
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
    known = [value for value in values if value is not None]
    return Estimate.of(known) if len(known) == len(values) else None


def _known(value: float | None) -> float:
    if value is None:
        raise ResultError("compare: a run ended without an accuracy; its devices need test examples")
    return value
