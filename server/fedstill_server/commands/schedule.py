"""fedstill-server schedule, pause, resume: when a fleet's rounds begin."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from fedstill_server.commands.generated import takes
from fedstill_server.commands.shared import AsJson, Fleet, help_of
from fedstill_server.config.options import option, options_of

if TYPE_CHECKING:
    from fedstill_server.config.schedule import Schedule

_DURATIONS = {"lasts_s": "--for", "least_pause_s": "--every", "look_every_s": "--look-every"}


def register(cli: typer.Typer) -> None:
    """Add the commands to `cli`."""
    commands: dict[str, Callable[..., None]] = {"schedule": schedule, "pause": pause, "resume": resume}
    for name, command in commands.items():
        help_text = help_of(command)
        cli.command(name=name, help=help_text, rich_help_panel="A real fleet")(command)


@dataclass(frozen=True, kw_only=True)
class ScheduleOptions:
    """The fields of a schedule as a command line has them; None leaves one as it is."""

    window: str | None = option(
        None,
        "When a window opens: five fields of cron (minute, hour, day of the month, month, day of the week), "
        "six with seconds first, or always.",
        metavar="CRON",
    )
    lasts_s: str | None = option(
        None, "How long a window is open, such as 3h or 1h30m.", flag="--for", metavar="DURATION"
    )
    zone: str | None = option(None, "Time zone of windows and days, such as Europe/Berlin.")
    least_devices: int | None = option(
        None,
        "Willing devices without which no round begins; 0: the answers that a round waits for, or else half "
        "of the registered devices.",
    )
    most_rounds_a_day: int | None = option(
        None, "The most rounds that end on one day.", flag="--rounds-a-day"
    )
    least_pause_s: str | None = option(
        None, "The least time between two rounds, such as 10m.", flag="--every", metavar="DURATION"
    )
    look_every_s: str | None = option(
        None,
        "How often a device of a small fleet looks for messages: 3s.",
        flag="--look-every",
        metavar="DURATION",
    )
    looks_a_second: float | None = option(None, "How many looks a second all devices may make together: 200.")


@takes(ScheduleOptions)
def schedule(fleet: Fleet, *, as_json: AsJson = False, asked: dict[str, Any]) -> None:
    """Say when the rounds of a fleet begin, and show it; a fleet that is up follows before its next round.

    Without options, show the schedule, the next window, and what the next round waits for.

    Example: fedstill-server schedule fleets/kitchen

    Example: fedstill-server schedule fleets/kitchen --window "0 2 * * *" --for 3h --zone Europe/Berlin

    Example: fedstill-server schedule fleets/kitchen --window always --least-devices 20 --rounds-a-day 4
    """
    from fedstill_server.config.schedule import seconds_of

    changes = {name: value for name, value in asked.items() if value is not None}
    for name, flag in _DURATIONS.items():
        if name in changes:
            changes[name] = seconds_of(changes[name], where=flag)
    now = _changed(fleet, "schedule", changes) if changes else _read(fleet)
    notes = []
    if "most_rounds_a_day" in changes:
        notes = [
            "devices do no more rounds a day than their packages say; fedstill-server publish tells them"
        ]
    _show(fleet, now, notes, as_json)


def pause(fleet: Fleet, as_json: AsJson = False) -> None:
    """Begin no more rounds until `resume`; one that runs goes on to its end.

    Devices keep their students and answer from them, and releases go on (release pause holds those).

    Example: fedstill-server pause fleets/kitchen
    """
    _show(fleet, _changed(fleet, "pause", {"paused": True}), [], as_json)


def resume(fleet: Fleet, as_json: AsJson = False) -> None:
    """Let the rounds of a fleet begin again, by its schedule.

    Example: fedstill-server resume fleets/kitchen
    """
    _show(fleet, _changed(fleet, "resume", {"paused": False}), [], as_json)


def _read(fleet: Path) -> Schedule:
    from fedstill_server.config.schedule import Schedule
    from fedstill_server.fleet.folder import FleetFolder
    from fedstill_server.run_folder import is_continuous

    FleetFolder.open(fleet)
    return Schedule.read(fleet, continuous=is_continuous(fleet))


def _changed(fleet: Path, action: str, changes: dict[str, object]) -> Schedule:
    """Write the schedule with these fields changed, and the act into the audit log."""
    from fedstill_server.config.codec import ConfigError
    from fedstill_server.operations.audit import AuditLog

    before = _read(fleet)
    try:
        changed = replace(before, **changes)  # type: ignore[arg-type]
    except ConfigError as error:
        field, _, problem = str(error).partition(":")
        flags = {one.name: one.flags[0] for one in options_of(ScheduleOptions)}
        raise ConfigError(f"{flags.get(field, field)}:{problem}") from None
    changed.write(fleet)
    AuditLog(fleet).append(action, **changes)
    return changed


def _show(fleet: Path, schedule: Schedule, notes: list[str], as_json: bool) -> None:
    from fedstill_server.config.schedule import ALWAYS, duration_text
    from fedstill_server.rounds.rounds_status import RoundsStatus

    now = datetime.now(UTC)
    opens_at, status = schedule.next_window_at(now), RoundsStatus.read(fleet)
    if as_json:
        document = {**asdict(schedule), "next_window_at": opens_at.isoformat(timespec="seconds")}
        typer.echo(json.dumps({**document, "status": None if status is None else asdict(status)}, indent=1))
        return
    window = "always open"
    if schedule.window != ALWAYS:
        window = f"{schedule.window!r} for {duration_text(schedule.lasts_s)} ({schedule.zone})"
    least = schedule.least_devices or "what a round waits for, or else half of the registered ones"
    most = schedule.most_rounds_a_day or "no limit"
    lines = [
        f"window         {window}",
        f"devices        at least {least}",
        f"rounds a day   {most}",
        f"between them   at least {duration_text(schedule.least_pause_s)}",
        f"next window    {'is open now' if opens_at <= now else schedule.text_of(opens_at)}",
    ]
    if schedule.paused:
        lines.append("rounds are paused; to go on: fedstill-server resume")
    elif status is not None:
        lines.append(f"now            {status.text}")
    typer.echo("\n".join([*lines, *(f"note: {note}" for note in notes)]))
