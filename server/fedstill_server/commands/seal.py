"""fedstill-server seal: take files as they are now, after somebody has changed them by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(cli: typer.Typer) -> None:
    """Add the command to `cli`."""
    cli.command(name="seal", rich_help_panel="Look into")(seal)


def seal(
    path: Annotated[Path, typer.Argument(help="A JSON file of a run or fleet, or a fleet's folder.")],
) -> None:
    """Take a file that you have changed as it is now: write the digest that it answers for itself with.

    Of a fleet's folder, the settings and every key, certificate and data file are taken.
    """
    from fedstill_proto.system.sealed import seal_by_hand

    from fedstill_server.fleet.folder import FleetFolder
    from fedstill_server.operations.audit import AuditLog

    if not path.is_dir():
        seal_by_hand(path)
        typer.echo(f"{path}: taken as it is")
        return
    fleet = FleetFolder(path)
    for file in (path / "fleet.json", path / "config.json"):
        if file.exists():
            seal_by_hand(file)
    FleetFolder.open(path)
    unsealed = fleet.digested_files()
    fleet.digests.take_as_they_are(unsealed)
    AuditLog(path).append("seal", files=len(unsealed))
    typer.echo(f"{path}: the settings and {len(unsealed)} other files are taken as they are")
