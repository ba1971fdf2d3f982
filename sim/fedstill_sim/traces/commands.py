"""`fedstill-sim trace`: make a fleet's trace, and look at one."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any

import typer
from fedstill_server.commands.generated import taken, takes
from fedstill_server.config.codec import ConfigError
from rich.console import Console

from fedstill_sim.traces.columns import FleetTrace
from fedstill_sim.traces.generated import GENERATED, TraceGenerator, parse_generator
from fedstill_sim.traces.looking import figures_of, write_page
from fedstill_sim.traces.reading import read_trace
from fedstill_sim.traces.writing import write_trace

Told = Callable[[Path | None], AbstractContextManager[None]]
_EXAMPLES = """[bold]Examples[/]

[dim]A fleet of 300 phones, a week, to look at and to edit:[/]

[cyan]fedstill-sim trace make traces/phones --devices 300[/]

[dim]A European one from which a tenth leaves each month:[/]

[cyan]fedstill-sim trace make traces/europe --devices 1000 --zones 0,1,2 --churn 0.1 --seed 7[/]

[dim]A run that lives by it:[/]

[cyan]fedstill-sim run --devices 300 --trace traces/phones --goal-count 30 --rounds-a-day 24 -o runs/phones[/]
"""
_SHOW_EXAMPLES = """[bold]Examples[/]

[cyan]fedstill-sim trace show traces/phones[/]

[dim]As a page with a picture of who is there by hour; of a million devices, without a file:[/]

[cyan]fedstill-sim trace show generated:churn=0.1 --devices 1000000 --page fleet.html[/]
"""


def add_trace_commands(app: typer.Typer, told_plainly: Told) -> None:
    """Give the simulator its commands about traces.

    Args:
        app: The simulator's commands.
        told_plainly: A context that tells errors in a line.
    """
    group = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Traces: when each device of a fleet is there, how fast it computes and what its network bears. "
        "`run --trace` lives by one, and `fedstill plan` plans by one.",
    )
    app.add_typer(group, name="trace")

    @group.command(epilog=_EXAMPLES)
    @takes(TraceGenerator)
    def make(
        out: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder for it.")],
        devices: Annotated[int, typer.Option(min=1, help="How many devices.")] = 100,
        seed: Annotated[int, typer.Option(min=0, help="Everything random follows from it.")] = 0,
        *,
        asked: dict[str, Any],
    ) -> None:
        """Generate a fleet's trace: nights on the charger, weekends, time zones, churn, speeds and networks.

        Writes devices.csv (a line a device: gflops, down_mbps, up_mbps, network, zone_h, joined_s, left_s)
        and sessions.csv (a line a session: device, start_s, end_s, charging), in seconds since a Monday,
        0:00 UTC. Each may be edited; a run checks them before its first round.
        """
        with told_plainly(None):
            if out.exists() and (not out.is_dir() or any(out.iterdir())):
                raise ConfigError(f"{out}: holds something already; name a new or empty folder")
            generator = taken(TraceGenerator, asked)
            trace = generator.generate(devices, seed=seed)
            write_trace(trace, out, about=f"made by fedstill-sim trace make, seed {seed}")
            _print(trace)
            Console().print(str(out), highlight=False, soft_wrap=True)

    @group.command(epilog=_SHOW_EXAMPLES)
    def show(
        source: Annotated[
            str, typer.Argument(metavar="FOLDER|FILE|generated", help="As run --trace takes it.")
        ],
        devices: Annotated[
            int, typer.Option(min=1, help="Devices of a generated one, which has no number of its own.")
        ] = 1000,
        seed: Annotated[int, typer.Option(min=0, help="Its seed.")] = 0,
        page: Annotated[
            Path | None, typer.Option(metavar="FILE", help="Write an HTML page with a picture, too.")
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    ) -> None:
        """Read a trace with all its checks, and say what it is like: who is there when, and how fast."""
        with told_plainly(None):
            if source.partition(":")[0] == GENERATED:
                trace = parse_generator(source, where="trace").generate(devices, seed=seed)
            else:
                trace = read_trace(Path(source))
            if as_json:
                sys.stdout.write(json.dumps(dataclasses.asdict(figures_of(trace)), indent=1) + "\n")
            else:
                _print(trace)
            if page is not None:
                write_page(trace, page, title=f"Trace {source}")


def _print(trace: FleetTrace) -> None:
    for line in figures_of(trace).lines():
        Console().print(line, highlight=False, soft_wrap=True)
