"""`fedstill plan`."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from fedstill_server.commands.generated import taken, takes
from rich import box
from rich.console import Console
from rich.table import Table

from fedstill_sim.plan.request import PlanOptions, PlanRequest
from fedstill_sim.results.readable import readable_bytes

if TYPE_CHECKING:
    from fedstill_sim.plan.planning import Plan, PlannedFigure

Told = Callable[[Path | None], AbstractContextManager[None]]
_EXAMPLES = """[bold]Examples[/]

[dim]How long 200 rounds of 10,000 phones take, hourly, with a privacy budget:[/]

[cyan]fedstill plan --devices 10000 --goal-count 500 --rounds 200 --rounds-a-day 24 --round-pause 1800 \
--privacy central --epsilon 4[/]

[dim]How many devices it takes to be done in a week:[/]

[cyan]fedstill plan --within-days 7 --goal-count 300 --rounds 100 --rounds-a-day 24[/]

[dim]A small run tells bytes, arithmetic and the learning curve; the plan is of a large fleet:[/]

[cyan]fedstill plan --run runs/first --target-accuracy 0.9 --devices 50000 --goal-count 1000[/]
"""


def add_plan_command(app: typer.Typer, told_plainly: Told) -> None:
    """Give the simulator its command plan.

    Args:
        app: The simulator's commands.
        told_plainly: A context that tells errors in a line.
    """

    @app.command(epilog=_EXAMPLES)
    @takes(PlanOptions)
    def plan(
        as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
        *,
        asked: dict[str, Any],
    ) -> None:
        """Say how long a run will take, in days, and what it will cost: bytes, battery and epsilon.

        Nothing is trained. Fleets are drawn from the trace (with replacement) or by the generator, and their
        rounds pass in virtual time: who is there, who answers in time, who fails. Figures are medians of the
        draws, with intervals that hold nine tenths of them.
        """
        with told_plainly(None):
            request = PlanRequest.of(taken(PlanOptions, asked))
            from fedstill_sim.plan.planning import make_plan

            made = make_plan(request)
            if as_json:
                sys.stdout.write(json.dumps(dataclasses.asdict(made), indent=1, allow_nan=False) + "\n")
            else:
                print_plan(Console(), made)


def print_plan(console: Console, plan: Plan) -> None:
    """Print a plan as a table."""
    table = Table(title="Plan", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for column in ("estimate", "90 % of the draws"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_row("devices", f"{plan.devices:,}", "")
    table.add_row(f"rounds ({plan.why_rounds})", f"{plan.rounds:,}", "")
    for name, estimate, shown in _rows(plan):
        between = f"{shown(estimate.low)} to {shown(estimate.high)}"
        table.add_row(name, f"[bold]{shown(estimate.value)}[/]", between)
    console.print(table)
    for note in plan.notes:
        console.print(f"[dim]{note[:1].upper()}{note[1:]}.[/dim]", highlight=False, soft_wrap=True)


def _rows(plan: Plan) -> list[tuple[str, PlannedFigure, Callable[[float], str]]]:
    def number(value: float) -> str:
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

    def share(value: float) -> str:
        return f"{100 * value:.3g} %"

    rows: list[tuple[str, PlannedFigure, Callable[[float], str]]] = [
        ("days", plan.days, number),
        ("rounds a day", plan.rounds_a_day, number),
        ("minutes of a round", plan.round_minutes, number),
        ("devices asked in a round", plan.asked_a_round, number),
        ("answers that count in a round", plan.goal, number),
        ("tasks whose answers never come", plan.lost_share, share),
        ("tasks of a device", plan.tasks_per_device, number),
        ("tasks of the busiest device", plan.tasks_of_busiest, number),
        ("sent by a device", plan.up_bytes_per_device, readable_bytes),
        ("received by a device", plan.down_bytes_per_device, readable_bytes),
        ("bytes in all", plan.total_bytes, readable_bytes),
        ("joules of a task", plan.joules_per_task, number),
        (f"battery a day ({plan.battery_wh:g} Wh)", plan.battery_share_a_day, share),
        ("battery a day, busiest device", plan.busiest_battery_share_a_day, share),
    ]
    if plan.epsilon is not None:
        name = f"epsilon at delta {plan.delta:g} (noise multiplier {plan.noise_multiplier:.3g})"
        rows.append((name, plan.epsilon, number))
    return rows
