"""A comparison as files for other programs, made from compare.json alone.

    compare.csv               a line for each split and method: means with their 95 % intervals
    compare-differences.csv   a line for each paired difference
    compare-runs.csv          a line for each run, also those that failed, with their reason
    compare.tex               both tables; \\usepackage{booktabs}

Accuracies in CSV are shares of 1 and bytes are bytes; tables are in percent.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fedstill_sim.compare.estimate import Estimate
from fedstill_sim.compare.latex import latex
from fedstill_sim.compare.result import ComparisonResult, SplitComparison
from fedstill_sim.report.page import write_page

CSV_FILE, DIFFERENCES_FILE, RUNS_FILE, LATEX_FILE = (
    "compare.csv",
    "compare-differences.csv",
    "compare-runs.csv",
    "compare.tex",
)
_ACCURACIES = ("personal_accuracy", "global_accuracy", "worst_device_accuracy")
_FIGURES = (
    *_ACCURACIES,
    "uplink_bytes_per_device_round",
    "downlink_bytes_per_device_round",
    "total_bytes_per_device_round",
)


def write_exports(comparison: ComparisonResult, folder: Path) -> None:
    """Write every file, each whole or not at all."""
    for name, text in (
        (CSV_FILE, means_csv(comparison)),
        (DIFFERENCES_FILE, differences_csv(comparison)),
        (RUNS_FILE, runs_csv(comparison)),
        (LATEX_FILE, latex(comparison)),
    ):
        write_page(text, folder / name)


def means_csv(comparison: ComparisonResult) -> str:
    """Make compare.csv: no figures where no run finished, and no interval where one seed did."""
    columns = [f"{name}_{part}" for name in _FIGURES for part in ("mean", "low", "high")]
    return _csv(
        ["data", "dirichlet", "epsilon", "devices", "method", "seeds", "finished", *columns],
        (
            [
                *_split_columns(on_split),
                method,
                len(comparison.seeds),
                len(estimate.seeds) if estimate else 0,
                *(part for name in _FIGURES for part in _parts(getattr(estimate, name, None))),
            ]
            for on_split in comparison.splits
            for method in comparison.methods
            for estimate in [on_split.methods.get(method)]
        ),
    )


def differences_csv(comparison: ComparisonResult) -> str:
    """Make compare-differences.csv: each method minus its reference, paired by seed."""
    columns = [f"{name}_{part}" for name in _ACCURACIES for part in ("mean", "low", "high")]
    return _csv(
        ["data", "dirichlet", "epsilon", "devices", "method", "reference", "seeds", *columns, "bytes_ratio"],
        (
            [
                *_split_columns(on_split),
                advantage.method,
                advantage.baseline,
                len(advantage.seeds),
                *(part for name in _ACCURACIES for part in _parts(getattr(advantage, name))),
                advantage.bytes_ratio,
            ]
            for on_split in comparison.splits
            for advantage in on_split.advantages
        ),
    )


def runs_csv(comparison: ComparisonResult) -> str:
    """Make compare-runs.csv: every run, finished or not."""
    return _csv(
        ["data", "dirichlet", "epsilon", "devices", "method", "seed", "status", *_FIGURES, "reason"],
        (line for on_split in comparison.splits for line in _run_lines(on_split)),
    )


def _run_lines(on_split: SplitComparison) -> Iterator[list[Any]]:
    for method, estimate in on_split.methods.items():
        for place, seed in enumerate(estimate.seeds):
            figures = (getattr(estimate, name).values[place] for name in _FIGURES)
            yield [*_split_columns(on_split), method, seed, "finished", *figures, ""]
    for run in on_split.failed:
        yield [*_split_columns(on_split), run.method, run.seed, "failed", *[""] * len(_FIGURES), run.reason]


def _split_columns(on_split: SplitComparison) -> list[Any]:
    split, devices = on_split.split, on_split.data.devices if on_split.data else None
    return [split.dataset or split.data, split.dirichlet, split.epsilon, devices]


def _parts(estimate: Estimate | None) -> tuple[float | None, float | None, float | None]:
    if estimate is None:
        return None, None, None
    if estimate.half_width is None:
        return estimate.mean, None, None
    return estimate.mean, estimate.low, estimate.high


def _csv(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)  # a float is written so that it reads back as the same float
    return buffer.getvalue()
