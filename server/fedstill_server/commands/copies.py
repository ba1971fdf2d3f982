"""fedstill-server backup, restore, database: copies of a fleet, and the database that machines share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from fedstill_server.commands.shared import AsJson, Fleet, help_of, report


def register(cli: typer.Typer) -> None:
    """Add the commands to `cli`."""
    commands: dict[str, Callable[..., None]] = {"backup": backup, "restore": restore, "database": database}
    for name, command in commands.items():
        help_text = help_of(command)
        cli.command(name=name, help=help_text, rich_help_panel="Copies and machines")(command)


def backup(
    fleet: Fleet,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write, such as kitchen.tar.gz.")],
    as_json: AsJson = False,
) -> None:
    """Write a backup of a fleet into one file, while it is up or not.

    It holds private keys: whoever has it can speak for the fleet. Keep it as you keep keys/.

    Example: fedstill-server backup fleets/kitchen --out kitchen.tar.gz
    """
    from fedstill_server.fleet.backup import back_up
    from fedstill_server.fleet.folder import FleetFolder
    from fedstill_server.operations.audit import AuditLog

    made = back_up(FleetFolder.open(fleet), out)
    AuditLog(fleet).append("backup", out=str(out), files=made.files)
    report(
        {**vars(made), "backup": str(out)}, f"wrote {out}: {made.files} files of fleet {made.run}", as_json
    )


def restore(
    backup: Annotated[Path, typer.Argument(help="A file of fedstill-server backup.")],
    fleet: Annotated[Path, typer.Argument(help="The folder to make; it must not be there.")],
    as_json: AsJson = False,
) -> None:
    """Make a fleet's folder of a backup, on this machine or another one.

    Every file is checked before the folder is there. Never let two copies of one fleet be up at the same
    time, and never go on from an older copy of a fleet with --privacy central: rounds that it does not know
    of would be released anew. A fleet with a shared database takes what is newer from there (up --standby).

    Example: fedstill-server restore kitchen.tar.gz fleets/kitchen
    """
    from fedstill_server.fleet.backup import restore as restore_backup
    from fedstill_server.operations.audit import AuditLog

    made = restore_backup(backup, fleet)
    AuditLog(fleet).append("restore", backup=str(backup), made_at=made.made_at)
    text = f"restored fleet {made.run} in {fleet}; bring it up: fedstill-server up {fleet}"
    report({**vars(made), "fleet": str(fleet)}, text, as_json)


def database(
    fleet: Fleet,
    address: Annotated[
        str,
        typer.Argument(help="postgresql://user@host/name; the password comes from PGPASSWORD, ~/.pgpass."),
    ] = "",
    none: Annotated[bool, typer.Option("--none", help="Keep the fleet's state on its disk alone.")] = False,
    as_json: AsJson = False,
) -> None:
    """Share a fleet's state through a database, so that a second machine can take over; or show it.

    Rounds, releases, devices and what happened are in the database before anybody learns of them; private
    keys are not, and come to the second machine by backup and restore. There, up --standby waits for its
    turn. The fleet must not be up.

    Example: fedstill-server database fleets/kitchen postgresql://fedstill@db.example.org/kitchen
    """
    from fedstill_server.fleet.folder import FleetFolder
    from fedstill_server.operations.address import (
        ADDRESS_FILE,
        checked_address,
        database_address,
        engine_of,
        shown,
        write_database_address,
    )
    from fedstill_server.operations.audit import AuditLog
    from fedstill_server.operations.database import FleetDatabase
    from fedstill_server.operations.replica import FleetReplica

    opened = FleetFolder.open(fleet)
    if none or address:
        with opened.held():
            if none:
                (fleet / ADDRESS_FILE).unlink(missing_ok=True)
            else:
                checked = checked_address(address)
                FleetReplica.of(fleet, opened.run, checked).close()
                write_database_address(fleet, checked)
            AuditLog(fleet).append("database", address="" if none else shown(engine_of(fleet)))
    where = database_address(fleet)
    if not where:
        report({"database": ""}, f"{fleet}: its state is on this disk alone", as_json)
        return
    FleetDatabase.open(fleet).close()
    replica = FleetReplica.of(fleet, opened.run)
    other, left_s = replica.holder()
    replica.close()
    text = shown(engine_of(fleet))
    served = f"served by {other.split(':')[0]}, whose lease ends in {left_s:.0f} s" if other else "not up"
    report({"database": text, "holder": other, "lease_s": left_s}, f"{text}: {served}", as_json)
