"""Results as tables in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedstill_sim.comparison import Comparison
from fedstill_sim.estimate import Estimate
from fedstill_sim.readable import (
    counted,
    readable_bytes,
)
from fedstill_sim.result import RunResult
from fedstill_sim.table import method_rows
from fedstill_sim.verdict import Verdict, verdicts

_MARKS = {"good": "[green]✓[/green]", "bad": "[red]✗[/red]", "even": "[yellow]≈[/yellow]"}


def print_run(console: Console, result: RunResult, folder: Path) -> None:
    """The run beside its baselines, what that says, and where everything lies."""
    data, rounds = result.data, len(result.rounds)
    title = f"{data.name}: {counted(data.devices, 'device')}, {counted(rounds, 'round')}, seed {result.seed}"
    table = _table(title, ("personal", "global", "worst", "uplink", "downlink", "rounds took"))
    for row in method_rows([result, *result.baselines.values()]):
        cells = [
            f"[bold green]{cell.text}[/]" if cell.best else cell.text
            for cell in (*row.cells[:5], row.cells[-1])
        ]
        table.add_row(f"[bold]{row.method}[/]" if row.own else row.method, *cells)
    console.print(table)
    engine = result.engine
    console.print(
        "[dim]Accuracy on the device's own data, on everyone's, and of the worst device; serialized bytes "
        f"a device and round, as sent. {engine.device_rounds_per_second:,.0f} device-rounds a second.[/dim]"
    )
    finals = {name: baseline.final for name, baseline in result.baselines.items()}
    _print_verdicts(console, verdicts(result.method, result.final, finals))
    _print_checks(console, result)
    _print_files(console, folder, result_file="result.json", report="report.html")


def print_comparison(console: Console, comparison: Comparison, folder: Path) -> None:
    """Means and 95 % intervals, and what they say."""
    data, seeds = comparison.data, comparison.seeds
    title = f"{data.name}: {counted(data.devices, 'device')}, mean of {counted(len(seeds), 'seed')}"
    table = _table(
        title + (" ± 95 % interval" if len(seeds) > 1 else ""),
        ("personal %", "global %", "worst %", "uplink", "downlink"),
    )
    accuracies = ("personal_accuracy", "global_accuracy", "worst_device_accuracy")
    best = {name: max(getattr(one, name).mean for one in comparison.methods.values()) for name in accuracies}
    for method, one in comparison.methods.items():
        cells = [
            f"[bold green]{text}[/]" if getattr(one, name).mean == best[name] else text
            for name in accuracies
            for text in [with_interval(getattr(one, name))]
        ]
        table.add_row(
            method,
            *cells,
            readable_bytes(one.uplink_bytes_per_device_round.mean),
            readable_bytes(one.downlink_bytes_per_device_round.mean),
        )
    console.print(table)
    _print_verdicts(console, comparison.verdicts)
    _print_files(console, folder, result_file="compare.json", report="compare.html")


def with_interval(estimate: Estimate) -> str:
    """93.4 ± 1.2, in percent."""
    if estimate.half_width is None:
        return f"{100 * estimate.mean:.1f}"
    return f"{100 * estimate.mean:.1f} ± {100 * estimate.half_width:.1f}"


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("method", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _print_verdicts(console: Console, lines: Sequence[Verdict]) -> None:
    for line in lines:
        console.print(f"{_MARKS[line.outcome]} {escape(line.text)}", highlight=False, soft_wrap=True)


def _print_checks(console: Console, result: RunResult) -> None:
    difference = result.final.max_abs_logit_difference
    if difference is not None:
        names = ", ".join(result.students)
        console.print(
            f"[dim]Students {escape(names)} run in ONNX Runtime; largest logit difference to torch "
            f"{difference:.1e}.[/dim]"
        )
    if result.final.quarantined:
        console.print(
            f"[yellow]Summaries quarantined: {result.final.quarantined}; the report has the reasons.[/yellow]"
        )


def _print_files(console: Console, folder: Path, *, result_file: str, report: str) -> None:
    for name in (result_file, report):
        if (folder / name).exists():
            console.print(f"  {escape(str(folder / name))}", highlight=False, soft_wrap=True)
