"""`compare.json`: several methods over several seeds, each figure with its mean and 95 % interval."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedstill_server.config_json import from_json

from fedstill_sim.estimate import Estimate
from fedstill_sim.result import (
    DataResult,
    ResultError,
    RoundResult,
    RunResult,
    read_json,
    write_json,
)
from fedstill_sim.verdict import Verdict, accuracy_verdict, bytes_verdict

COMPARISON_VERSION = 1
COMPARISON_FILE = "compare.json"
BASELINES = ("local", "fedavg")


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
    """One method over the seeds."""

    method: str
    personal_accuracy: Estimate
    global_accuracy: Estimate
    worst_device_accuracy: Estimate
    uplink_bytes_per_device_round: Estimate
    downlink_bytes_per_device_round: Estimate
    quarantined: int
    max_abs_logit_difference: float
    rounds: tuple[RoundEstimate, ...]


@dataclass(frozen=True, kw_only=True)
class Advantage:
    """A method minus a baseline, seed by seed: accuracies in shares of 1, uplink as a ratio."""

    method: str
    baseline: str
    personal_accuracy: Estimate
    global_accuracy: Estimate
    worst_device_accuracy: Estimate
    uplink_ratio: float | None


@dataclass(frozen=True, kw_only=True)
class ComparisonTiming:
    """Seconds on the clock: all runs, and device-rounds a second by method."""

    finished: str
    total_seconds: float
    rounds_seconds: dict[str, float]
    device_rounds_per_second: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A finished comparison."""

    schema_version: int = COMPARISON_VERSION
    seeds: tuple[int, ...]
    methods: dict[str, MethodEstimate]
    advantages: tuple[Advantage, ...]
    verdicts: tuple[Verdict, ...]
    data: DataResult
    config: dict[str, Any]
    versions: dict[str, str]
    timing: ComparisonTiming


def compared(
    results: Mapping[str, Sequence[RunResult]], *, config: dict[str, Any], timing: ComparisonTiming
) -> Comparison:
    """The comparison of finished runs: by method, one a seed, in the same order of seeds."""
    first = next(iter(results.values()))[0]
    methods = {method: _method(method, runs) for method, runs in results.items()}
    advantages = tuple(
        _advantage(method, results[method], baseline, results[baseline])
        for method in methods
        for baseline in BASELINES
        if baseline in methods and method not in BASELINES
    )
    return Comparison(
        seeds=tuple(run.seed for run in next(iter(results.values()))),
        methods=methods,
        advantages=advantages,
        verdicts=tuple(line for advantage in advantages for line in _verdicts(advantage, methods)),
        data=first.data,
        config=config,
        versions=first.versions,
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


def _method(method: str, runs: Sequence[RunResult]) -> MethodEstimate:
    differences = [run.final.max_abs_logit_difference for run in runs]
    return MethodEstimate(
        method=method,
        personal_accuracy=_estimate(runs, lambda run: run.final.personal_accuracy),
        global_accuracy=_estimate(runs, lambda run: run.final.global_accuracy),
        worst_device_accuracy=_estimate(runs, lambda run: run.final.worst_device_accuracy),
        uplink_bytes_per_device_round=_estimate(runs, lambda run: run.final.uplink_bytes_per_device_round),
        downlink_bytes_per_device_round=_estimate(
            runs, lambda run: run.final.downlink_bytes_per_device_round
        ),
        quarantined=sum(run.final.quarantined for run in runs),
        max_abs_logit_difference=max(value for value in differences if value is not None),
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
    method: str, own: Sequence[RunResult], baseline: str, theirs: Sequence[RunResult]
) -> Advantage:
    """Seeds are pairs: both methods had the same split, the same students and the same order of batches."""

    def differences(name: str) -> Estimate:
        return Estimate.of(
            [
                _known(getattr(one.final, name)) - _known(getattr(other.final, name))
                for one, other in zip(own, theirs, strict=True)
            ]
        )

    sent, sent_by_baseline = (
        sum(run.final.uplink_bytes_per_device_round for run in runs) for runs in (own, theirs)
    )
    comparable = baseline == "fedavg" and sent_by_baseline > 0
    return Advantage(
        method=method,
        baseline=baseline,
        personal_accuracy=differences("personal_accuracy"),
        global_accuracy=differences("global_accuracy"),
        worst_device_accuracy=differences("worst_device_accuracy"),
        uplink_ratio=sent / sent_by_baseline if comparable else None,
    )


def _verdicts(advantage: Advantage, methods: Mapping[str, MethodEstimate]) -> list[Verdict]:
    own, theirs = methods[advantage.method], methods[advantage.baseline]
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
        dataclasses.replace(line, text=f"{advantage.method}: {line.text}")
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
