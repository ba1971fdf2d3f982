"""fedstill-server register, unregister, devices, audit: who is let in, how devices stand, who did what."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedstill_server.commands.shared import AsJson, Fleet, help_of, report

if TYPE_CHECKING:
    from fedstill_server.fleet.device_list import ListedDevice
    from fedstill_server.operations.device_state import DeviceState


def register(cli: typer.Typer) -> None:
    """Add the commands to `cli`."""
    commands: dict[str, Callable[..., None]] = {
        "register": register_device,
        "unregister": unregister_device,
        "devices": devices,
        "audit": audit,
    }
    for name, command in commands.items():
        help_text = help_of(command)
        cli.command(name=name, help=help_text, rich_help_panel="A real fleet")(command)


def register_device(
    fleet: Fleet,
    key: Annotated[
        Path, typer.Argument(help="The device's public key: the .pub file of fedstill-agent enrol.")
    ],
    name: Annotated[
        str, typer.Option(help="The device's name, where the key's comment does not give it.")
    ] = "",
    relay_devices: Annotated[
        int, typer.Option(min=0, help="Of a relay: how many devices it may bring; 0 is a device.")
    ] = 0,
    again: Annotated[
        bool, typer.Option("--again", help="Let a key come back that was taken back with unregister.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Let a device in, by its public key; a fleet that is up does so within seconds.

    Compare the fingerprint with what enrol showed on the device, unless you carried the file yourself.
    """
    from fedstill_server.fleet.devices import DeviceRegister
    from fedstill_server.fleet.enrolled import check_relays_may_be, publish_devices
    from fedstill_server.fleet.folder import FleetFolder
    from fedstill_server.operations.audit import AuditLog

    if relay_devices:
        check_relays_may_be(fleet)
    register = DeviceRegister(FleetFolder.open(fleet).devices)
    device = register.add(key, name or None, again=again, relay_devices=relay_devices)
    publish_devices(fleet)
    document: dict[str, object] = {"name": device.name, "fingerprint": device.fingerprint}
    document |= {"relay_devices": relay_devices} if relay_devices else {}
    AuditLog(fleet).append("register", **document, again=again)
    report(document, f"registered {device.name} ({device.fingerprint})", as_json)


def unregister_device(
    fleet: Fleet,
    name: Annotated[str, typer.Argument(help="The device's name.")],
    reason: Annotated[
        str, typer.Option(help="Why, for the audit log and for those who come after you.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Take a device's registration back: it is let in no more, by a fleet that is up within seconds.

    Its key is revoked: it can be registered again with --again only. A new key, of a home that was enrolled
    anew, may have the same name.
    """
    from fedstill_server.fleet.devices import DeviceRegister
    from fedstill_server.fleet.enrolled import publish_devices
    from fedstill_server.fleet.folder import FleetFolder
    from fedstill_server.operations.audit import AuditLog
    from fedstill_server.operations.database import FleetDatabase
    from fedstill_server.operations.errors import OperationsError

    device = DeviceRegister(FleetFolder.open(fleet).devices).remove(name, reason=reason)
    publish_devices(fleet)
    document: dict[str, object] = {"name": device.name, "fingerprint": device.fingerprint, "reason": reason}
    AuditLog(fleet).append("unregister", **document)
    try:
        with FleetDatabase.open(fleet) as database:
            why = f": {reason}" if reason else ""
            database.forget_device(name)
            database.tell("device", f"{name} is revoked{why}", device=name, action="revoked", reason=reason)
    except OperationsError as error:
        typer.echo(f"it is revoked, and no event tells of it: {error}", err=True)
    report(document, f"unregistered {device.name} ({device.fingerprint})", as_json)


def devices(
    fleet: Fleet,
    state: Annotated[
        str,
        typer.Option(help="Only these: online, offline, never (came up), revoked, refused or unwilling."),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """List all devices with how they stand: seen, package, last round, what came of it, and why.

    Example: fedstill-server devices fleets/kitchen --state offline
    """
    from fedstill_proto.errors import unknown_name

    from fedstill_server.fleet.device_list import DeviceMark, listed_devices
    from fedstill_server.fleet.folder import FleetFolder

    known = [str(mark) for mark in DeviceMark]
    if state and state not in known:
        raise unknown_name("--state", state, known)
    found = listed_devices(FleetFolder.open(fleet), _states(fleet))
    found = [one for one in found if (not state and one.revoked_at is None) or state in one.marks]
    if as_json:
        print(json.dumps([one.to_json() for one in found]))
        return
    columns = ("device", "state", "seen", "package", "round", "outcome", "counted", "left out", "key")
    _print_table([columns, *map(_cells, found)])
    for one in found:
        if text := one.state.last_outcome_text or one.reason:
            print(f"{one.state.name}: {text}")


def audit(
    fleet: Fleet,
    check: Annotated[
        bool, typer.Option("--check", help="Say whether anybody has changed it; 1 where somebody has.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what operators did to the fleet: when, who, what, and its details.

    Each entry holds a digest of the one before: --check names a line that was changed, left out or put in.
    Whoever may write the folder can write all of it anew, so keep the last digest elsewhere.
    """
    from fedstill_server.fleet.folder import FleetFolder
    from fedstill_server.operations.audit import AuditLog

    log = AuditLog(FleetFolder.open(fleet).folder)
    entries, problems = log.entries(), log.check() if check else []
    head = entries[-1].digest if entries else ""
    if as_json:
        document = {"entries": [vars(one) for one in entries], "head": head}
        print(json.dumps(document | ({"problems": problems} if check else {}), indent=1))
        raise typer.Exit(1 if problems else 0)
    rows = [("number", "when", "who", "what", "details")]
    for one in entries:
        details = ", ".join(f"{name} {value}" for name, value in one.details.items() if value != "")
        rows.append((str(one.number), _when(one.at), one.who, one.action, details))
    _print_table(rows)
    for problem in problems:
        print(problem)
    if check and not problems:
        print(f"nobody has changed it; its last digest is {head or 'none'}")
    raise typer.Exit(1 if problems else 0)


def _states(fleet: Path) -> list[DeviceState]:
    """What the database knows of devices; nothing, with a word on it, where it does not answer."""
    from fedstill_server.operations.database import FleetDatabase
    from fedstill_server.operations.errors import OperationsError

    try:
        with FleetDatabase.open(fleet) as database:
            return database.devices()
    except OperationsError as error:
        typer.echo(f"what was seen of devices is not shown: {error}", err=True)
        return []


def _cells(one: ListedDevice) -> tuple[str, ...]:
    seen = one.state
    return (
        seen.name,
        ", ".join(one.marks),
        "" if seen.last_seen_at is None else _ago(time.time() - seen.last_seen_at),
        f"{seen.family} {seen.package_version}, generation {seen.generation}" if seen.package_version else "",
        str(seen.last_round or ""),
        seen.last_outcome,
        str(seen.counted_rounds or ""),
        str(seen.refusals or ""),
        f"{one.fingerprint[:15]}...",
    )


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print a line for each row, never broken: for grep, and for terminals that scroll."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _ago(seconds: float) -> str:
    """How long ago, in the largest unit."""
    for name, unit_s in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.0f} {name} ago"
    return f"{max(seconds, 0):.0f} s ago"


def _when(at: float) -> str:
    """A moment in local time."""
    return datetime.fromtimestamp(at).isoformat(" ", "seconds")
