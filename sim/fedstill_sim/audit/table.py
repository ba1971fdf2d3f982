"""An audit as a table: what each attack finds beside what knowing nothing finds, and what is promised."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedstill_sim.audit.result import AuditResult
from fedstill_sim.results.readable import counted


@dataclass(frozen=True, kw_only=True)
class AuditRow:
    """One figure of an audit, as text.

    Attributes:
        attack: What is guessed.
        figure: What is counted.
        found: The figure.
        interval: Its 95 % interval, or nothing.
        nothing: The figure of who knows nothing but what is public.
    """

    attack: str
    figure: str
    found: str
    interval: str
    nothing: str


def audit_rows(result: AuditResult) -> list[AuditRow]:
    """The figures of an audit, in the order of the attacks."""
    rows = []
    for told, name in ((result.examples_told, "an example"), (result.devices_told, "a private set")):
        rows += [
            _row(f"membership of {name}", "advantage", told.advantage, told.advantage_interval, "0.000"),
            _row("", "area under the ROC curve", told.auc, told.auc_interval, "0.500"),
            _row("", "TPR at an FPR of 0.1", told.true_positives_at_10, None, "0.100"),
            _row("", "TPR at an FPR of 0.01", told.true_positives_at_1, None, "0.010"),
            _row("", "epsilon, at least", told.epsilon, None, "0.000"),
        ]
    labels = result.labels
    rows += [
        _row("label histogram", "advantage", labels.advantage, labels.advantage_interval, "0.000"),
        _row("", "total variation", labels.error, labels.error_interval, f"{labels.error_of_nothing:.3f}"),
    ]
    if labels.stated:
        rows[-2] = AuditRow(**{**vars(rows[-2]), "figure": "advantage (it is stated)"})
    shown = result.reconstruction
    share = shown.above / max(shown.examples, 1)
    rows += [
        _row("reconstruction", "above the public set", share, shown.share_interval, "0.000"),
        _row("", "median correlation", shown.correlation, None, f"{shown.public_correlation:.3f}"),
    ]
    return rows


def print_audit(console: Console, result: AuditResult, folder: Path | None) -> None:
    """Print an audit, what is promised beside it, and whether that holds."""
    title = (
        f"{result.method}: {counted(result.rounds, 'round')} of device {result.device}, "
        f"{counted(result.examples, 'example')}; {counted(result.runs, 'answer')} of each kind attacked"
    )
    table = Table(title=escape(title), box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for heading in ("attack", "figure", "found", "95 % interval", "knowing nothing"):
        table.add_column(heading, justify="left" if heading in ("attack", "figure") else "right")
    for row in audit_rows(result):
        table.add_row(row.attack, row.figure, row.found, row.interval, row.nothing)
    console.print(table)
    for sentence in sentences(result):
        console.print(escape(sentence), highlight=False, soft_wrap=True)
    if result.broken:
        console.print(f"[bold red]The promise is broken:[/] {escape(result.broken)}.", soft_wrap=True)
    if folder is not None:
        console.print(f"[dim]{escape(str(folder))}: audit.json, audit.html[/]", highlight=False)


def sentences(result: AuditResult) -> list[str]:
    """What the figures are held against, in words."""
    promise = result.promise
    if promise is None:
        return [
            "Nothing is promised: without --privacy no bound holds for what answers say of private data. The "
            "attacks show what these attacks find, and no more."
        ]
    said = [
        f"Promised, with noise of --privacy {promise.mode}: all rounds together cost a whole private set at "
        f"most epsilon {promise.epsilon:.2f} at delta {promise.delta:g}, and a single example no more. What "
        "the attacks prove is below that wherever the promise holds."
    ]
    noise = result.noise
    if noise is not None and not noise.missing:
        said.append(
            f"The noise is there: a deviation of {noise.promised:.3g} is promised in each of "
            f"{noise.numbers:,} numbers, and {noise.releases} releases of one answer show {noise.found:.3g}."
        )
    return said


def _row(
    attack: str, figure: str, found: float, interval: tuple[float, float] | None, nothing: str
) -> AuditRow:
    shown = "" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"
    return AuditRow(attack=attack, figure=figure, found=f"{found:.3f}", interval=shown, nothing=nothing)
