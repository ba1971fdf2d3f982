"""Results as tables in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedstill_sim.compare.result import ComparisonResult
from fedstill_sim.compare.table import ComparedCell, sections
from fedstill_sim.report.table import method_rows
from fedstill_sim.results.readable import counted
from fedstill_sim.results.run_result import RunResult
from fedstill_sim.results.target_figures import lines_of
from fedstill_sim.results.verdict import Verdict, verdicts
from fedstill_sim.tasks import simulation_of

_MARKS = {"good": "[green]✓[/green]", "bad": "[red]✗[/red]", "even": "[yellow]≈[/yellow]"}


def print_run(console: Console, result: RunResult, folder: Path) -> None:
    """Print a run and its baselines as a table, the verdicts, and where the files are."""
    data, rounds = result.data, len(result.rounds)
    title = f"{data.name}: {counted(data.devices, 'device')}, {counted(rounds, 'round')}, seed {result.seed}"
    table = _table(title, ("personal", "global", "worst", "uplink", "downlink", "total", "took"))
    for row in method_rows([result, *result.baselines.values()]):
        cells = [
            f"[bold green]{cell.text}[/]" if cell.best else cell.text
            for cell in (*row.cells[:6], row.cells[-1])
        ]
        table.add_row(f"[bold]{row.method}[/]" if row.own else row.method, *cells)
    console.print(table)
    engine = result.engine
    console.print(
        "[dim]Accuracy on each device's own data, on the global test set, and of the worst device; "
        "serialized bytes per device and round, as sent. "
        f"{engine.device_rounds_per_second:,.0f} device-rounds a second.[/dim]"
    )
    if told := result.final.measured_on(data.devices):
        text = f"Accuracies are {told} (95 % interval of the mean personal accuracy)."
        console.print(f"[dim]{text}[/dim]", highlight=False, soft_wrap=True)
    _print_participation(console, result)
    for finished in result.rounds:
        if finished.notice:
            console.print(
                f"{result.method}: {finished.notice}.", highlight=False, markup=False, soft_wrap=True
            )
    if result.attack is not None:
        text = escape(result.attack.describe(data.devices))
        console.print(f"[yellow]{text}.[/yellow]", highlight=False, soft_wrap=True)
    if result.privacy is not None:
        words = result.privacy.summary
        console.print(f"{words[:1].upper()}{words[1:]}.", highlight=False, soft_wrap=True)
    if result.energy is not None:
        words = result.energy.summary
        console.print(f"[dim]{words[:1].upper()}{words[1:]}.[/dim]", highlight=False, soft_wrap=True)
    finals = {name: baseline.final for name, baseline in result.baselines.items()}
    _print_verdicts(console, verdicts(result.method, result.final, finals))
    _print_checks(console, result)
    _print_evaluation(console, result)
    _print_files(console, folder, ("result.json", "report.html"))


def _print_participation(console: Console, result: RunResult) -> None:
    """Print who took part, where that was not everybody."""
    rounds = result.rounds
    asked, counted_ = (
        sum(finished.asked for finished in rounds),
        sum(finished.accepted for finished in rounds),
    )
    if asked == counted_ == len(rounds) * len(result.devices):
        return
    late, silent = sum(finished.late for finished in rounds), sum(finished.silent for finished in rounds)
    stale, seconds = sum(finished.stale for finished in rounds), rounds[-1].clock_s
    parts = [f"{counted_:,} of {asked:,} tasks led to a summary that counted", f"{late:,} came late"]
    parts += [f"{silent:,} never came in time", *([f"{stale:,} were too old"] if stale else [])]
    took = f"; {seconds:,.0f} virtual seconds" if seconds else ""
    console.print(f"[dim]{', '.join(parts)}{took}.[/dim]")


def print_comparison(console: Console, comparison: ComparisonResult, folder: Path) -> None:
    """Print means with 95 % intervals as tables, the verdicts, and the runs that failed."""
    seeds = len(comparison.seeds)
    mean = f"mean of {counted(seeds, 'seed')}" + (" ± 95 % interval" if seeds > 1 else "")
    columns = ("personal %", "global %", "worst %", "uplink", "downlink", "total")
    for part in sections(comparison):
        table = _table(f"{part.title}, {mean}", columns if comparison.complete else ("seeds", *columns))
        for row in part.rows:
            cells = [_styled(cell) for cell in row.cells]
            table.add_row(row.method, *cells if comparison.complete else (row.seeds, *cells))
        console.print(table)
    if comparison.attack:
        told = escape(f"{comparison.attack}; all accuracies are the honest devices'.")
        console.print(f"[yellow]{told}[/yellow]", highlight=False, soft_wrap=True)
    for on_split in comparison.splits:
        _print_verdicts(console, on_split.verdicts)
    for on_split in comparison.splits:
        for run in on_split.failed:
            text = f"{on_split.split.name}, {run.method}, seed {run.seed}: {run.reason}"
            console.print(f"[red]failed[/] {escape(text)}", highlight=False, soft_wrap=True)
    _print_files(console, folder, ("compare.json", "compare.html", "compare.csv", "compare.tex"))


def _styled(cell: ComparedCell) -> str:
    text = cell.joined("±")
    return f"[bold green]{text}[/]" if cell.best else text


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
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


def _print_evaluation(console: Console, result: RunResult) -> None:
    """What the task measured beside accuracy."""
    if result.evaluation:
        simulation = simulation_of(result.config["fleet"]["task"]["name"])
        words = lines_of if "target" in result.evaluation else simulation.lines_of
        for line in words(result.evaluation):
            console.print(escape(line), highlight=False, soft_wrap=True)


def _print_files(console: Console, folder: Path, names: Sequence[str]) -> None:
    for name in names:
        if (folder / name).exists():
            console.print(f"  {escape(str(folder / name))}", highlight=False, soft_wrap=True)
