"""fedstill-server generations: what a fleet did, does, and will do next."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fedstill_server.commands.shared import help_of


def register(cli: typer.Typer) -> None:
    """Add the command to `cli`."""
    help_text = help_of(generations)
    cli.command(name="generations", help=help_text, rich_help_panel="A real fleet")(generations)


def generations(
    fleet: Annotated[Path, typer.Argument(help="The fleet's folder.")],
    discard: Annotated[
        bool, typer.Option("--discard", help="Give up the generation that is staged.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON for scripts, and nothing else.")
    ] = False,
) -> None:
    """List the generations of a fleet: when each came into force, what it changed, and its rounds.

    fedstill-server prepare stages the next one, and publish puts it into force.

    Example: fedstill-server generations fleets/kitchen
    """
    from fedstill_server.fleet.folder import FleetFolder
    from fedstill_server.fleet.generation_list import generations as all_generations
    from fedstill_server.fleet.generations import discard_generation
    from fedstill_server.operations.audit import AuditLog

    folder = FleetFolder.open(fleet).folder
    if discard:
        number = discard_generation(folder)
        AuditLog(folder).append("discard-generation", generation=number)
    lines = all_generations(folder)
    if as_json:
        print(json.dumps([asdict(line) for line in lines], indent=1))
        return
    table = Table("generation", "state", "in force since (UTC)", "rounds", "what it changed")
    for line in lines:
        rounds = "" if line.first_round is None else f"{line.first_round} to {line.last_round}"
        at = None if line.in_force_at is None else datetime.fromtimestamp(line.in_force_at, UTC)
        since = f"{at:%Y-%m-%d %H:%M}" if at else ""
        table.add_row(str(line.number), line.state, since, rounds, "\n".join(line.changes))
    Console().print(table)
