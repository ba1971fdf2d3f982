"""`compare.html`: methods over splits and seeds on one self-contained page."""

from __future__ import annotations

from pathlib import Path

from fedstill_sim.compare.charts import accuracy_by_split, split_charts
from fedstill_sim.compare.result import ComparisonResult
from fedstill_sim.compare.table import ACCURACIES, best_means, section_title
from fedstill_sim.report.page import render, write_page
from fedstill_sim.results.settings import setting_rows

REPORT_FILE = "compare.html"


def write_comparison_report(comparison: ComparisonResult, path: Path) -> None:
    """Write the report of a comparison, whole or not at all."""
    write_page(render_comparison(comparison), path)


def render_comparison(comparison: ComparisonResult) -> str:
    """Render the report of a comparison as HTML."""
    seeds = len(comparison.seeds)
    parts = [
        {
            "title": section_title(on_split),
            "split": on_split,
            "best": best_means(list(on_split.methods.values())),
            "charts": split_charts(on_split, seeds=seeds),
            "rate": comparison.timing.device_rounds_per_second.get(on_split.split.name, {}),
        }
        for on_split in comparison.splits
    ]
    several = len(parts) > 1
    return render(
        "compare.html",
        comparison=comparison,
        parts=parts,
        accuracies=[name for name, _ in ACCURACIES],
        charts=[accuracy_by_split(comparison.splits, comparison.methods)] if several else [],
        configuration=setting_rows(comparison.config),
        command=comparison.config["comparison"]["command"],
    )
