"""The table of a comparison as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from fedstill_sim.compare.result import ComparisonResult
from fedstill_sim.compare.table import ComparedCell, sections

_FIGURES = ("personal %", "global %", "worst %", "uplink", "downlink", "total")


def markdown(comparison: ComparisonResult) -> str:
    """Make one table of all splits, with the failed runs and their reasons below it."""
    parts = sections(comparison)
    several = len(parts) > 1
    rows = [
        [*([part.title] if several else []), row.method, row.seeds, *map(_cell, row.cells)]
        for part in parts
        for row in part.rows
    ]
    headings = [*(["split"] if several else []), "method", "seeds", *_FIGURES]
    lines = _table(headings, rows, left=2 if several else 1)
    if comparison.attack:
        lines += ["", f"{comparison.attack}; all accuracies are the honest devices'."]
    failed = [(on_split.split.name, run) for on_split in comparison.splits for run in on_split.failed]
    if failed:
        lines += ["", "Failed:", ""]
        lines += [f"- {split}, {run.method}, seed {run.seed}: {run.reason}" for split, run in failed]
    return "\n".join(lines) + "\n"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, left: int) -> list[str]:
    rule = ["---" if place < left else "---:" for place in range(len(headings))]
    return [f"| {' | '.join(_escaped(row))} |" for row in (headings, rule, *rows)]


def _escaped(row: Sequence[str]) -> list[str]:
    return [text.replace("|", "\\|") for text in row]


def _cell(cell: ComparedCell) -> str:
    return f"**{cell.joined('±')}**" if cell.best else cell.joined("±")
