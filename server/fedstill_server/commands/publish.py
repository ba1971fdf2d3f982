"""fedstill-server publish, refresh, rotate-keys: sign student packages, and look after the keys that sign."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fedstill_server.commands.shared import Suppress, help_of, report

Fleet = Annotated[Path, typer.Argument(help="The fleet's folder, as fedstill-server init made it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def register(cli: typer.Typer) -> None:
    """Add the commands to `cli`."""
    commands: dict[str, Callable[..., None]] = {
        "publish": publish,
        "refresh": refresh,
        "rotate-keys": rotate_keys,
    }
    for name, command in commands.items():
        cli.command(name=name, help=help_of(command), rich_help_panel="Student packages")(command)


def publish(
    fleet: Fleet,
    families: Annotated[str, typer.Option(help="Student families, as in mlp-small,cnn. Empty: all.")] = "",
    package: Annotated[
        list[Path] | None,
        typer.Option(
            help="First hand over the student of this package, or of a distillation: its family "
            "goes on from it. Repeat it for several families; the fleet must not be up.",
            show_default=False,
        ),
    ] = None,
    instead: Annotated[
        bool, typer.Option("--instead", help="Take the release back that is on its way in stages, first.")
    ] = False,
    suppress: Suppress = None,
    as_json: AsJson = False,
) -> None:
    """Sign the newest students, and offer them to all of the fleet's devices at once.

    Where devices answer already, let some try it first: fedstill-server release start.

    A package holds the student's inference graph, its weights, the training and forward graphs of the
    fleet's method, and the public set. All packages of one call get the same new version, and become
    visible together. Devices verify every byte against the fleet's keys (TUF), and refuse older versions.
    A generation that is staged comes into force with its packages.

    Example: fedstill-server publish fleets/kitchen --families mlp-small

    Example: fedstill-server publish fleets/kitchen --package small
    """
    # torch takes a second to import, which other commands do not need.
    from fedstill_proto.package.constraints.constraints import read_constraints

    from fedstill_server.fleet.folder import FleetFolder
    from fedstill_server.fleet.generations import staged_generation, switch_generation
    from fedstill_server.fleet.handover import hand_over
    from fedstill_server.fleet.releasing import end_release
    from fedstill_server.operations.audit import AuditLog
    from fedstill_server.publish.constraints import suppress_in_fleet
    from fedstill_server.publish.errors import PublishError
    from fedstill_server.publish.students import publish_students

    staged = staged_generation(fleet) if FleetFolder.is_at(fleet) else None
    end_release(fleet, "something else was published", asked=instead)
    if package and staged is not None:
        raise PublishError(f"--package: generation {staged.number} is staged; publish that first.")
    if suppress is not None:
        suppress_in_fleet(fleet, read_constraints(suppress))
    if package:
        hand_over(fleet, package)
    names = [name.strip() for name in families.split(",") if name.strip()]
    if names and staged is not None:
        raise PublishError("--families: a new generation is published for all of its families.")
    published = publish_students(fleet, names, source=None if staged is None else staged.folder)
    versions = {each.family: each.package_version for each in published}
    handed_over = [str(each) for each in package or ()]
    generation = {} if staged is None else {"generation": staged.number}
    AuditLog(fleet).append("publish", versions=versions, handed_over=handed_over, **generation)
    if staged is not None:  # now that devices find its packages
        switch_generation(fleet)
    if as_json:
        document = {
            each.family: {"package_version": each.package_version, "bytes": each.size_bytes}
            for each in published
        }
        print(json.dumps({"repository": str(fleet / "repository"), "published": document}, indent=1))
        return
    table = Table(title=f"published in {fleet / 'repository'}")
    for heading in ("family", "version", "size"):
        table.add_column(heading, justify="left" if heading == "family" else "right")
    for each in published:
        table.add_row(each.family, str(each.package_version), f"{each.size_bytes:,d} B")
    Console().print(table)


def refresh(fleet: Fleet, as_json: AsJson = False) -> None:
    """Sign the repository's state anew, so that devices go on believing it.

    Devices believe the newest word for 7 days, so that nobody can keep news from them for longer.
    fedstill-server up does this every day; run it yourself where a web server of your own serves the
    repository (cron, a systemd timer).
    """
    from fedstill_server.publish.repository import Repository

    repository = Repository.open(fleet)
    repository.refresh()
    report({"refreshed": str(repository.folder)}, f"signed anew: {repository.folder}", as_json)


def rotate_keys(
    fleet: Fleet,
    role: Annotated[
        str, typer.Option(help="root, targets, snapshot or timestamp. Empty: all but root.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Replace keys that sign packages; enrolled devices follow by themselves.

    Do it when a key may have been seen by others, or when people leave. The new root metadata is signed
    by the root key, and a new root key by the old one as well. Once the old root key is lost, devices can
    follow no more and must be enrolled again: keep a copy of keys/packages in a safe place.

    Example: fedstill-server rotate-keys fleets/kitchen --role timestamp
    """
    from fedstill_server.operations.audit import AuditLog
    from fedstill_server.publish.repository import ONLINE_ROLES, Repository

    repository = Repository.open(fleet)
    rotated = {each: repository.rotate(each) for each in ([role] if role else ONLINE_ROLES)}
    AuditLog(fleet).append("rotate-keys", keys=rotated)
    lines = "\n".join(f"{each:10s} new key {keyid[:16]}" for each, keyid in rotated.items())
    report({"rotated": rotated}, lines, as_json)
