"""fedstill-server release, kill, revive: packages for some devices first, back again, and the way out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedstill_server.commands.generated import takes
from fedstill_server.commands.shared import AsJson, Fleet, help_of
from fedstill_server.config.options import option

if TYPE_CHECKING:
    from fedstill_server.releases.controller import ReleaseController
    from fedstill_server.releases.release import StagedRelease

Reason = Annotated[str, typer.Option(help="Why, for the people who look at it later.")]


def register(cli: typer.Typer) -> None:
    """Add the commands to `cli`."""
    group = typer.Typer(
        help="Releases in stages: some devices get new packages first, and what they tell of them decides "
        "whether the others do.",
        no_args_is_help=True,
    )
    commands: dict[str, Callable[..., None]] = {
        "start": start,
        "status": status,
        "pause": pause,
        "resume": resume,
        "rollback": rollback,
        "advance": advance,
    }
    for name, command in commands.items():
        group.command(name=name, help=help_of(command))(command)
    cli.add_typer(group, name="release", rich_help_panel="Student packages")
    cli.command(name="kill", help=help_of(kill), rich_help_panel="A real fleet")(kill)
    cli.command(name="revive", help=help_of(revive), rich_help_panel="A real fleet")(revive)


@dataclass(frozen=True, kw_only=True)
class RuleOptions:
    """The rules of a release as a command line has them; ReleaseRules checks them."""

    stages: str = option(
        "1,10,100", "Percent of the devices in each stage; the last is 100.", metavar="PERCENT,..."
    )
    least_time: str = option(
        "1h", "How long each stage lasts at least, such as 1h or 30m.", metavar="DURATION"
    )
    least_reports: int = option(
        20, "Devices of a stage that must have told; where it has fewer, all of them."
    )
    most_lost: float = option(
        0.01,
        "The share of right answers on held-out examples that may be lost, where it is more than chance "
        "explains.",
    )
    most_lost_anyway: float = option(0.1, "The same of 20 examples or more, whatever chance explains.")
    most_troubled: float = option(
        0.05, "The share of devices that may crash with it, and that may fail to install it."
    )
    most_refusing: float = option(0.5, "The share of devices that may have refused a round since.")
    slowest: float = option(2.0, "How many times as long as before slow answers may take (95th percentile).")


@takes(RuleOptions)
def start(
    fleet: Fleet,
    families: Annotated[str, typer.Option(help="Student families, as in mlp-small,cnn. Empty: all.")] = "",
    package: Annotated[
        list[Path] | None,
        typer.Option(
            help="Release the student of this package, or of a distillation, in place of the newest of its "
            "family; rounds go on from it once all devices have it. Repeat it for several families.",
            show_default=False,
        ),
    ] = None,
    *,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Also students that are worse on the server's test set than those in use."
        ),
    ] = False,
    as_json: AsJson = False,
    asked: dict[str, Any],
) -> None:
    """Sign the newest students, or the staged generation, and offer them to some devices first.

    The release goes on by itself while the fleet is up: to the next stage when the devices of this one have
    told enough, and back to the package before when they tell that it is worse. Devices learn of it within
    minutes, most within seconds.

    Example: fedstill-server release start fleets/kitchen

    Example: fedstill-server release start fleets/kitchen --stages 5,25,100 --least-time 30m
    """
    from fedstill_server.config.schedule import seconds_of
    from fedstill_server.releases.rules import ReleaseRules

    rules = ReleaseRules(
        stages=ReleaseRules.stages_of(asked.pop("stages")),
        least_time_s=seconds_of(asked.pop("least_time"), where="--least-time"),
        **asked,
    )
    # torch takes a second to import, which other commands and wrong options do not need.
    from fedstill_server.fleet.releasing import start_release

    with _controller(fleet) as controller:
        release = start_release(
            fleet,
            controller,
            rules,
            families=[name.strip() for name in families.split(",") if name.strip()],
            packages=package or (),
            force=force,
        )
        _log(fleet, "release-start", release, force=force, packages=[str(one) for one in package or ()])
        _show(controller, release, as_json)


def status(
    fleet: Fleet,
    release: Annotated[int, typer.Option(help="The version of a release; 0: the newest.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Show how a release stands: its stage, what its gates say, what it waits for, and what became of it.

    Example: fedstill-server release status fleets/kitchen
    """
    from fedstill_server.releases.errors import ReleaseError
    from fedstill_server.releases.release import ReleaseFolder

    with _controller(fleet) as controller:
        known = ReleaseFolder(fleet)
        found = known.read(release) if release else next(reversed(known.all()), None)
        if found is None:
            raise ReleaseError(
                f"{fleet}: nothing was released in stages yet; fedstill-server release start {fleet}"
            )
        _show(controller, found, as_json)


def pause(fleet: Fleet, as_json: AsJson = False) -> None:
    """Keep the release in its stage; a gate that fails takes it back all the same.

    Example: fedstill-server release pause fleets/kitchen
    """
    with _controller(fleet) as controller:
        _done(fleet, controller, "release-pause", controller.pause(True), as_json)


def resume(fleet: Fleet, as_json: AsJson = False) -> None:
    """Let a release go on that was paused.

    Example: fedstill-server release resume fleets/kitchen
    """
    with _controller(fleet) as controller:
        _done(fleet, controller, "release-resume", controller.pause(False), as_json)


def rollback(fleet: Fleet, reason: Reason = "an operator took it back", as_json: AsJson = False) -> None:
    """Take the release back: its devices answer from the package before.

    Where none is on its way, the last release that all devices have is taken back.

    Example: fedstill-server release rollback fleets/kitchen --reason "customers complain"
    """
    with _controller(fleet) as controller:
        _done(fleet, controller, "release-rollback", controller.take_back(reason), as_json, reason=reason)


def advance(fleet: Fleet, reason: Reason = "an operator let it go on", as_json: AsJson = False) -> None:
    """Let the release go on to its next stage at once, whatever it still waits for.

    Example: fedstill-server release advance fleets/kitchen
    """
    with _controller(fleet) as controller:
        _done(fleet, controller, "release-advance", controller.advance(reason), as_json, reason=reason)


def kill(
    fleet: Fleet,
    answer_from: Annotated[
        int | None,
        typer.Option(help="The last good package: no device answers from a newer one.", show_default=False),
    ] = None,
    reason: Reason = "an operator switched them off",
    as_json: AsJson = False,
) -> None:
    """The kill switch: no round goes on, no device takes part, and what is being released is taken back.

    Devices that run follow within a minute; they go on answering, from the stable package or from that of
    --answer-from.

    Example: fedstill-server kill fleets/kitchen --reason "answers are wrong since noon" --answer-from 11
    """
    _switch(fleet, "kill", as_json, answer_from=answer_from, reason=reason)


def revive(fleet: Fleet, as_json: AsJson = False) -> None:
    """Let rounds go on after the kill switch; packages that were taken back stay so.

    Example: fedstill-server revive fleets/kitchen
    """
    _switch(fleet, "revive", as_json)


def _switch(fleet: Path, action: str, as_json: bool, **details: Any) -> None:
    from fedstill_server.operations.audit import AuditLog

    with _controller(fleet) as controller:
        AuditLog(fleet).append(action, **details)
        plan = controller.kill(**details) if action == "kill" else controller.revive()
    text = "rounds are switched off" if plan.rounds_off else "rounds go on"
    if plan.withdrawn:
        text += f"; taken back are packages {', '.join(map(str, plan.withdrawn))}"
    typer.echo(json.dumps(asdict(plan), indent=1) if as_json else text)


@contextmanager
def _controller(fleet: Path) -> Iterator[ReleaseController]:
    from fedstill_server.fleet.folder import FleetFolder
    from fedstill_server.fleet.releasing import ReleaseNotes, controller_of
    from fedstill_server.publish.repository import Repository

    Repository.open(FleetFolder.open(fleet).folder)
    notes = ReleaseNotes(fleet)
    try:
        yield controller_of(fleet, notes)
    finally:
        notes.close()


def _done(
    fleet: Path,
    controller: ReleaseController,
    action: str,
    release: StagedRelease,
    as_json: bool,
    **details: object,
) -> None:
    _log(fleet, action, release, **details)
    _show(controller, release, as_json)


def _log(fleet: Path, action: str, release: StagedRelease, **details: object) -> None:
    from fedstill_server.operations.audit import AuditLog

    AuditLog(fleet).append(action, package_version=release.package_version, **details)


def _show(controller: ReleaseController, release: StagedRelease, as_json: bool) -> None:
    from fedstill_server.config.codec import to_json
    from fedstill_server.operations.errors import OperationsError

    waits_for = ""
    if release.is_on_its_way:
        try:
            waits_for = controller.waits_for(release, controller.reports(release))
        except OperationsError as error:
            waits_for = str(error)
        if release.paused:
            waits_for = "it is paused; fedstill-server release resume lets it go on"
    if as_json:
        typer.echo(json.dumps({**to_json(release), "waits_for": waits_for}, indent=1))
        return
    stage = f"stage {release.stage + 1} of {len(release.rules.stages)} ({release.share:.0%} of the devices)"
    head = stage if release.is_on_its_way else release.status
    lines = [f"release {release.package_version} of {', '.join(release.families)}: {head}"]
    lines += [f"waits for      {waits_for}"] if waits_for else []
    for verdict in release.verdicts:
        lines.append(f"{'FAILED' if verdict.failed else 'passed'}         {verdict.gate}: {verdict.text}")
    lines += [
        f"{datetime.fromtimestamp(step.at, UTC):%Y-%m-%d %H:%M:%S}  {step.text}" for step in release.steps
    ]
    typer.echo("\n".join(lines))
