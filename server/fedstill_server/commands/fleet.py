"""fedstill-server init, prepare, invite, up, unit: a real fleet over TLS."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import click
import typer
from click.core import ParameterSource

from fedstill_server.commands.generated import MethodCommand, Set, takes
from fedstill_server.commands.making_progress import shown_progress
from fedstill_server.commands.shared import AsJson, Fleet, Suppress, help_of, report
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.config.options import Option, option, options_of
from fedstill_server.config.reading import ReadOptions
from fedstill_server.config.run_options import FLEET, RunOptions


def register(cli: typer.Typer) -> None:
    """Add the commands to `cli`."""
    for name, command in (
        ("init", init),
        ("prepare", prepare),
        ("invite", invite),
        ("up", up),
        ("unit", unit),
    ):
        help_text = help_of(command)
        kind = MethodCommand if command is prepare else None
        cli.command(name=name, cls=kind, help=help_text, rich_help_panel="A real fleet")(command)


def init(
    fleet: Fleet,
    host: Annotated[str, typer.Option(help="Name or address that devices reach this server by.")],
    port: Annotated[int, typer.Option(help="Where the reverse proxy listens for devices.")] = 8443,
    superlink_port: Annotated[
        int, typer.Option(help="Where Flower's SuperLink listens, on loopback.")
    ] = 8000,
    without_proxy: Annotated[
        bool, typer.Option("--without-proxy", help="Try a fleet out on this machine alone, without nginx.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a new fleet: its folder, its certificate authority, and the keys that sign its packages.

    The folder holds private keys; keep a copy of keys/ in a safe place. What comes next: prepare, publish,
    invite, then enrol devices, register their keys, and bring the fleet up.

    Example: fedstill-server init fleets/kitchen --host fleet.example.org
    """
    from fedstill_server.fleet.certificates import create_authority, renew_server_certificate
    from fedstill_server.fleet.folder import FleetFolder, FleetSettings
    from fedstill_server.operations.audit import AuditLog
    from fedstill_server.publish.repository import Repository

    settings = FleetSettings(host=host, port=port, superlink_port=superlink_port, proxy=not without_proxy)
    created = FleetFolder.create(fleet, settings)
    create_authority(created)
    renew_server_certificate(created)
    Repository.create(fleet)
    AuditLog(fleet).append("init", run=created.run, address=settings.address)
    document: dict[str, object] = {"fleet": str(fleet), "run": created.run, "address": settings.address}
    report(
        document, f"made fleet {created.run} in {fleet}; devices will reach it at {settings.address}", as_json
    )


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """What only some tasks take."""

    words: int | None = option(
        None,
        "For text: the most entries of the word list, for each language (20,000).",
        least=100,
        most=65_536,
        panel=FLEET,
    )
    language: str | None = option(
        None,
        "For text: the code of its language, such as en, where file names do not say it (told by its words).",
        panel=FLEET,
    )
    minutes: float | None = option(
        None,
        "For text: that making the students may take, about (5). Students that a teacher has taught take "
        "longer; give more minutes later, and what was made is gone on from.",
        above=0,
        panel=FLEET,
    )
    places: int | None = option(
        None,
        "For text: words that a student sees (16); of models of Hugging Face sub-words of a row (as the "
        "longest text has, to 64; 32 where the next one is learned).",
        least=2,
        panel=FLEET,
    )
    public_rows: int | None = option(
        None,
        "For text and utterances: public rows that devices get (512; 256 of next sub-words).",
        least=1,
        panel=FLEET,
    )
    quick: bool | None = option(
        None,
        "For text: one small network as the teacher, to try a fleet out; needed by transformer.",
        panel=FLEET,
        flag="--quick",
    )


@takes(RunOptions, TaskOptions, ReadOptions)
def prepare(
    fleet: Fleet,
    public: Annotated[
        Path | None,
        typer.Option(
            show_default=False,
            help="The public set, which a first prepare needs: an .npz file with x \\[n, *shape] and labels "
            "y \\[n], a table (.csv, .parquet), or a folder of pictures or windows by class; of text, a file "
            "with a text a line, a folder of .txt files, or one of a folder or file for each language (en/, "
            "de.txt); of utterances, and of texts for models of Hugging Face, a .csv file of text,label.",
        ),
    ] = None,
    *,
    test: Annotated[
        Path | None, typer.Option(help="The same, to measure on only.", show_default=False)
    ] = None,
    classes: Annotated[int, typer.Option(min=0, help="Needed only where the public set has no labels.")] = 0,
    settings: Set = None,
    suppress: Suppress = None,
    as_json: AsJson = False,
    asked: dict[str, Any],
) -> None:
    """Write what the fleet's run does, train the teacher on the public set, and distil the first students.

    For a fleet of text, the word list is made of the public texts; how frequent words are in general comes
    from wordfreq (fedstill\\[keyboard]). Who prepares again after a kill goes on. For utterances, those
    without a label are labelled by a sentence model that learns the others (fedstill\\[assistant]).

    A fleet that is prepared gets its next generation, of what is said here and all else as it is: it is
    staged, rounds go on as before, and fedstill-server publish puts it into force. Devices stay enrolled.

    Example: fedstill-server prepare fleets/kitchen --public public.npz --families mlp-small,cnn --rounds 20

    Example: fedstill-server prepare fleets/kitchen --learning-rate 0.01

    Example: fedstill-server prepare fleets/kitchen --public public.npz --set server_step=0.3 --mode async

    Example: fedstill-server prepare fleets/phones --public sentences.txt --families gru

    Example: fedstill-server prepare fleets/phones --public texts --families gru-80-224 --minutes 30

    Example: fedstill-server prepare fleets/kitchen --public public.npz --privacy local --epsilon 8 --rounds 5

    Example: fedstill-server prepare fleets/homes --public public.csv --test test.csv --families ngrams

    Example: fedstill-server prepare fleets/reviews --public texts.csv --families hf:models/bert+lora:8

    Example: fedstill-server prepare fleets/shops --public public.parquet --label bought --missing fill
    """
    from fedstill_server.config.run_options import read_settings
    from fedstill_server.families import FAMILIES
    from fedstill_server.fleet.generations import is_prepared
    from fedstill_server.resolve import check_names
    from fedstill_server.tasks import chosen_task, task_for

    _check_there(public, test)
    if suppress is not None:
        _suppress(fleet, suppress)
    if is_prepared(fleet):
        said = {name: asked[name] for name in asked if _was_said(name)}
        _prepare_next(fleet, said, settings, public=public, test=test, as_json=as_json)
        return
    if public is None:
        raise typer.BadParameter("a first prepare needs a public set", param_hint="--public")
    of_task = {one.name: asked.pop(one.name) for one in options_of(TaskOptions)}
    reading = ReadOptions(**{one.name: _parsed(one, asked.pop(one.name)) for one in options_of(ReadOptions)})
    wanted = RunOptions(
        **{**asked, "families": asked["families"] or ("mlp-small",)},
        method_options=read_settings(settings or ()),
    )
    families = tuple(FAMILIES.named(wanted.families, where="--families"))
    task = chosen_task(wanted.task or task_for(families), of_task)
    check_names(wanted, [wanted.method or task.default_method])
    # torch takes a second to import, which other commands and wrong names do not need.
    from fedstill_server.fleet.folder import FleetFolder
    from fedstill_server.fleet.preparing import PublicData, prepare_fleet
    from fedstill_server.operations.audit import AuditLog

    opened = FleetFolder.open(fleet)
    given = PublicData(public=public, test=test, task=task, classes=classes or None, reading=reading)
    with shown_progress("training the teacher and the first students") as on_progress:
        prepared = prepare_fleet(opened, wanted, given, on_progress=on_progress)
    config = prepared.config
    AuditLog(fleet).append(
        "prepare", method=config.method.name, families=config.families, rounds=config.rounds, public=public
    )
    text = f"prepared {_learning(prepared.config)}"
    _report_prepared(text, prepared.config, prepared.accuracy, prepared.notices, as_json)


def _suppress(fleet: Path, path: Path) -> None:
    from fedstill_proto.package.constraints.constraints import read_constraints

    from fedstill_server.fleet.folder import FleetFolder
    from fedstill_server.publish.constraints import suppress_in_fleet

    suppress_in_fleet(FleetFolder.open(fleet).folder, read_constraints(path))


def _prepare_next(
    fleet: Path,
    said: dict[str, Any],
    settings: list[str] | None,
    *,
    public: Path | None,
    test: Path | None,
    as_json: bool,
) -> None:
    from fedstill_server.config.run_options import read_settings
    from fedstill_server.fleet.folder import FleetFolder
    from fedstill_server.fleet.next_generation import Changes, prepare_next
    from fedstill_server.operations.audit import AuditLog

    def those_of(kind: type) -> dict[str, Any]:
        return {one.name: _parsed(one, said[one.name]) for one in options_of(kind) if one.name in said}

    changes = Changes(
        options=those_of(RunOptions),
        method_options=read_settings(settings or ()),
        task=those_of(TaskOptions),
        reading=those_of(ReadOptions),
        public=public,
        test=test,
    )
    with shown_progress("preparing the next generation") as on_progress:
        prepared = prepare_next(FleetFolder.open(fleet), changes, on_progress=on_progress)
    staged = prepared.staged
    AuditLog(fleet).append("prepare", generation=staged.number, changes=list(prepared.changes))
    text = f"staged generation {staged.number}, {_learning(staged.config)}: {'; '.join(prepared.changes)}"
    text += f"\nit comes into force by: fedstill-server publish {fleet}"
    _report_prepared(text, staged.config, prepared.accuracy, prepared.notices, as_json)


def _learning(config: FleetConfig) -> str:
    rounds = "rounds without an end" if config.continuous else f"{config.own_rounds} rounds"
    return f"{rounds} of {config.method.name} for {', '.join(config.families)}"


def _report_prepared(
    text: str, config: FleetConfig, accuracy: dict[str, float], notices: Sequence[str], as_json: bool
) -> None:
    lines = [text, *(f"{name:14s} {share:.1%} of the test set" for name, share in accuracy.items())]
    lines += [f"note: {notice}" for notice in notices if notice]
    found: dict[str, object] = {
        "fleet": config.to_json(),
        "accuracy": accuracy,
        "notice": "; ".join(filter(None, notices)),
    }
    report(found, "\n".join(lines), as_json)


def _was_said(name: str) -> bool:
    """Whether the command line that runs says an option."""
    return click.get_current_context().get_parameter_source(name) is not ParameterSource.DEFAULT


def _parsed(one: Option, given: Any) -> Any:
    """An option's value, of one with several values from a text with commas."""
    return one.parsed(given) if one.many and isinstance(given, str) else given


def _check_there(*paths: Path | None) -> None:
    """Refuse files that are not there, before what takes long."""
    from fedstill_server.fleet.errors import FleetError

    for path in paths:
        if path is not None and not path.exists():
            raise FleetError(f"{path}: no such file or folder")


def invite(
    fleet: Fleet,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write it.")] = Path("fleet.enrolment"),
    as_json: AsJson = False,
) -> None:
    """Write the enrolment file that a device joins with: where the fleet is, and what to trust there.

    It is the same for all devices and holds no secret, but a device believes what it says: bring it to the
    device by a way you trust.
    """
    from fedstill_server.fleet.folder import FleetFolder
    from fedstill_server.fleet.inviting import enrolment_of
    from fedstill_server.operations.audit import AuditLog
    from fedstill_server.relay.folder import RelayFolder

    is_relay = RelayFolder.is_at(fleet)
    enrolment = RelayFolder.open(fleet).enrolment() if is_relay else enrolment_of(FleetFolder.open(fleet))
    try:
        out.write_text(enrolment.to_json())
    except OSError as error:
        raise typer.BadParameter(f"{out}: cannot be written: {error.strerror}", param_hint="--out") from None
    AuditLog(fleet).append("invite", out=out, families=enrolment.families)
    how = f"fedstill-agent enrol {out.name} --name NAME --family {enrolment.families[0]}"
    report(
        {"enrolment": str(out), "address": enrolment.address, "families": enrolment.families},
        f"wrote {out}; on a device: {how}",
        as_json,
    )


def up(
    fleet: Fleet,
    exit_when_done: Annotated[
        bool, typer.Option("--exit-when-done", help="End after the last round, instead of serving on.")
    ] = False,
    standby: Annotated[
        bool,
        typer.Option(
            "--standby",
            help="Wait while another machine serves the fleet, and take its place when it is gone; needs a "
            "shared database (fedstill-server database).",
        ),
    ] = False,
    console: Annotated[
        int | None,
        typer.Option(
            "--console",
            metavar="PORT",
            min=1,
            max=65535,
            help="Serve the console, too, on loopback at this port; see fedstill-server console.",
        ),
    ] = None,
    on_alarm: Annotated[
        str,
        typer.Option(metavar="COMMAND", help="With --console: run this for each alarm, as console does."),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Serve the fleet: reverse proxy, SuperLink, and the rounds, until Ctrl-C or SIGTERM.

    Whatever ends is started again, and a fleet that was killed goes on after its last committed round. What
    each process says is in the fleet's logs/.
    """
    from fedstill_proto.system.signals import EndSignals

    from fedstill_server.commands.console import console_beside_fleet
    from fedstill_server.fleet.errors import FleetError
    from fedstill_server.fleet.folder import FleetFolder
    from fedstill_server.fleet.replication import wait_as_standby
    from fedstill_server.fleet.up import FleetUp, Watch
    from fedstill_server.relay.folder import RelayFolder
    from fedstill_server.rounds.round_record import RoundRecord

    opened = FleetFolder.open(fleet)
    if RelayFolder.is_at(fleet):
        raise FleetError(
            f"{fleet}: a relay, which has no rounds of its own; run: fedstill-server relay {fleet}"
        )

    def tell(kind: str, text: str, **document: object) -> None:
        print(json.dumps({"event": kind, **document}) if as_json else text, flush=True)

    def on_round(record: RoundRecord, rounds: int | None) -> None:
        share = (
            "" if record.personal_accuracy is None else f", personal accuracy {record.personal_accuracy:.1%}"
        )
        answers = f"{record.accepted} of {record.asked} summaries"
        if "accepted" in record.withheld:
            answers = f"{record.asked} devices asked"
        of_all = "" if rounds is None else f" of {rounds}"
        text = f"round {record.round}{of_all}: {answers}{share}"
        tell("round", text, record=record.to_json(), rounds=rounds)

    watch = Watch(
        on_text=lambda text: tell("note", text, note=text),
        on_round=on_round,
        on_processes=lambda pids: tell(
            "up",
            f"fleet {opened.run} is up at {opened.settings.address} "
            f"({', '.join(f'{name} {pid}' for name, pid in pids.items())})",
            run=opened.run,
            address=opened.settings.address,
            processes=pids,
        ),
    )
    beside = [] if console is None else [console_beside_fleet(opened, port=console, on_alarm=on_alarm)]
    with EndSignals() as signals:
        if standby and not wait_as_standby(opened, signals, watch.on_text):
            return
        FleetUp(opened, watch, beside=beside).run(signals, stay=not exit_when_done)
    tell("down", f"fleet {opened.run} is down")


def unit(
    fleet: Fleet,
    user: Annotated[
        str, typer.Option(help="Whom the folder belongs to and the server runs as; empty: you.")
    ] = "",
) -> None:
    """Print a systemd unit that brings the fleet, or a relay, up from boot on.

    Example: fedstill-server unit fleets/kitchen | sudo tee /etc/systemd/system/fedstill-kitchen.service
    """
    from fedstill_server.fleet.folder import FleetFolder
    from fedstill_server.fleet.unit import server_unit
    from fedstill_server.relay.folder import RelayFolder

    command = "relay" if RelayFolder.is_at(fleet) else "up"
    print(server_unit(FleetFolder.open(fleet), user=user or None, command=command), end="")
