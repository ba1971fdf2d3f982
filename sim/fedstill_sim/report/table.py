"""The table of a run and its baselines, for the terminal and the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fedstill_sim.results.readable import NONE, readable_bytes, readable_percent, readable_seconds
from fedstill_sim.results.run_result import BaselineResult, RunResult


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A figure in the table."""

    text: str
    best: bool = False


@dataclass(frozen=True, kw_only=True)
class MethodRow:
    """A method's row in the table; `own` marks the run itself."""

    method: str
    own: bool
    cells: Sequence[Cell]


def method_rows(runs: Sequence[RunResult | BaselineResult]) -> list[MethodRow]:
    """Make the table: the run first, then its baselines; the best accuracy of each column is marked."""
    columns = [
        _column(runs, lambda run: run.final.personal_accuracy, readable_percent, mark=True),
        _column(runs, lambda run: run.final.global_accuracy, readable_percent, mark=True),
        _column(runs, lambda run: run.final.worst_device_accuracy, readable_percent, mark=True),
        _column(runs, lambda run: run.final.uplink_bytes_per_device_round, readable_bytes),
        _column(runs, lambda run: run.final.downlink_bytes_per_device_round, readable_bytes),
        _column(runs, lambda run: run.final.total_bytes_per_device_round, readable_bytes),
        _column(runs, lambda run: run.engine.device_rounds_per_second, lambda rate: f"{rate:,.0f}"),
        _column(runs, lambda run: sum(run.timing.round_seconds), readable_seconds),
    ]
    return [
        MethodRow(method=run.method, own=index == 0, cells=[column[index] for column in columns])
        for index, run in enumerate(runs)
    ]


def _column(
    runs: Sequence[RunResult | BaselineResult],
    figure: Callable[[RunResult | BaselineResult], float | None],
    readable: Callable[[float], str],
    *,
    mark: bool = False,
) -> list[Cell]:
    figures = [figure(run) for run in runs]
    best = (
        max((value for value in figures if value is not None), default=None)
        if mark and len(runs) > 1
        else None
    )
    return [
        Cell(text=NONE if value is None else readable(value), best=best is not None and value == best)
        for value in figures
    ]
