"""fedstill-server: look into a run's server side, and say what there is to choose from."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from fedstill_proto import __version__
from fedstill_proto.errors import FedstillError
from fedstill_proto.system.extras import explain_missing
from rich.console import Console

from fedstill_server.commands import (
    console,
    copies,
    devices,
    distill,
    fleet,
    generations,
    parting,
    publish,
    relay,
    release,
    schedule,
    seal,
    sweep,
)
from fedstill_server.commands.generated import taken, takes
from fedstill_server.commands.option_table import option_document, option_table
from fedstill_server.inspection.options import InspectOptions
from fedstill_server.plugins import search_current_folder

# torch and flwr take seconds to import: each command brings what it needs.
if TYPE_CHECKING:
    from fedstill_server.config.fleet import FleetConfig
    from fedstill_server.rounds.round_record import RoundRecord
    from fedstill_server.rounds.run_store import RunStore

cli = typer.Typer(
    help="The server of a fedstill fleet: distil and sign students, bring a fleet up over TLS, and look into "
    "its rounds, or those that fedstill-sim simulated.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
fleet.register(cli)
devices.register(cli)
generations.register(cli)
publish.register(cli)
release.register(cli)
distill.register(cli)
sweep.register(cli)
parting.register(cli)
copies.register(cli)
schedule.register(cli)
seal.register(cli)
console.register(cli)
relay.register(cli)
_WORDS, _PLACES = 10_000, 16  # of the text that families of text are shown for


@cli.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if show:
        typer.echo(f"fedstill-server {__version__}")
        raise typer.Exit


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@cli.command(rich_help_panel="Look into")
@takes(InspectOptions)
def inspect(
    folder: Annotated[
        Path,
        typer.Argument(help="A run (with config.json and server/), a student package, or a distillation."),
    ],
    task: Annotated[
        str,
        typer.Option(
            help="The task of a package: digits, a folder with public.npz and test.npz, or text; by default "
            "that of its distillation."
        ),
    ] = "",
    teacher: Annotated[str, typer.Option(help="The teacher to compare a package with; see distill.")] = "",
    html: Annotated[Path | None, typer.Option(help="Where to write the report of a package.")] = None,
    seed: Annotated[int | None, typer.Option(help="The seed of the split of a package's task.")] = None,
    as_json: AsJson = False,
    *,
    asked: dict[str, Any],
) -> None:
    """Show a run's rounds with every answer left out and its reason, or how good a student package is.

    A package is shown as float32 and in 8 bits: accuracy (of text: perplexity and suggestions), calibration,
    parameters and FLOPs by its graph, memory, latency on the machine as it is and under load, throughput,
    energy and price; with accuracy under noise, blur and rotation, outliers, agreement with the teacher and a
    decision tree that imitates it. An HTML report is written, and the same as JSON beside it.
    """
    from fedstill_server.commands.inspect import alarms_in, package_at, round_table, show_package
    from fedstill_server.run_folder import read_fleet_config

    package = package_at(folder)
    if package is not None:
        options = taken(InspectOptions, asked)
        show_package(
            package, task=task, teacher=teacher, page=html, options=options, seed=seed, as_json=as_json
        )
        return
    run = folder
    config = read_fleet_config(run)
    from fedstill_server.fleet.damage import damage_in
    from fedstill_server.rounds.account import Account
    from fedstill_server.rounds.run_store import RunStore, RunStoreError

    if not RunStore.is_at(run):
        raise RunStoreError(f"{run}: no server/rounds; this run has not been started")
    store = RunStore(run)
    account: Account | None = None
    if config.privacy is not None and config.privacy.mode == "central":
        account = store.account(config.run)
    records, problems, alarms = store.records(), damage_in(run), alarms_in(run)
    if as_json:
        document = {"fleet": config.to_json(), "rounds": [record.to_json() for record in records]}
        if account is not None:
            document |= {"account": vars(account.head)}
        print(json.dumps(document | {"alarms": alarms, "problems": problems}, indent=1))
        raise typer.Exit(1 if problems else 0)
    console = Console()
    console.print(round_table(config, records))
    if config.privacy is not None:
        console.print(_privacy_line(config, store, records), highlight=False, soft_wrap=True)
    if account is not None:
        head = account.head
        console.print(
            f"account: {head.entries} releases, each debited before it was made; its chain is whole, and its "
            f"head is {head.digest}",
            highlight=False,
            soft_wrap=True,
        )
    for record in records:
        if record.notice:
            console.print(
                f"round {record.round}: {record.notice}", markup=False, highlight=False, soft_wrap=True
            )
        for entry in record.quarantined:
            who = entry.device or f"node {entry.node or 'unknown'}"
            console.print(f"round {record.round}: {who}: {entry.reason}: {entry.text}", markup=False)
    for alarm in alarms:
        text = f"alarm, {alarm['severity']}: {alarm['text']}. What to do: {alarm['remedy']}."
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    for problem in problems:
        console.print(problem, markup=False, highlight=False, soft_wrap=True)
    if problems:
        raise typer.Exit(1)


@cli.command(rich_help_panel="Look into")
def methods(
    name: Annotated[
        str | None,
        typer.Argument(help="This one, with its options: a name, or module:Class.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the methods that a run can use, with their papers; or the options of one, with default and limits.

    Example: fedstill-server methods fedstill
    """
    from fedstill_server.methods import METHODS

    if name is not None:
        _show_method(name, as_json=as_json)
        return
    lines = {each: _method_line(each) for each in METHODS}
    if as_json:
        document = {each: {"line": line, "origin": METHODS.origin(each)} for each, line in lines.items()}
        print(json.dumps(document, indent=1))
        return
    own = METHODS.own()
    for each, line in lines.items():
        typer.echo(f"{each:14s} {line}{f'; {METHODS.origin(each)}' if each in own else ''}")


def _method_line(name: str) -> str:
    """What a method does and where it is from; what is wrong with one that cannot be imported."""
    from fedstill_server.methods import METHODS
    from fedstill_server.plugins import PluginError

    try:
        return METHODS.load(name).line
    except PluginError as error:
        return str(error)


def _show_method(name: str, *, as_json: bool) -> None:
    """One method's options with their defaults, what they may be, and help."""
    from fedstill_server.config.options import options_of
    from fedstill_server.methods import METHODS

    found = METHODS.load(name)
    options = options_of(found)
    if as_json:
        document = {"line": found.line, "origin": METHODS.origin(name), "options": option_document(options)}
        print(json.dumps(document, indent=1))
        return
    typer.echo(f"{name}: {found.line}; {METHODS.origin(name)}")
    if not options:
        typer.echo("It has no options.")
        return
    Console().print(option_table(options), markup=False)
    first = options[0]
    typer.echo(f"For example: --method {name} --set {first.name}={first.shown_default}")


@cli.command(rich_help_panel="Look into")
def families(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="These alone: a name, a size, or module:Net of your own.", show_default=False),
    ] = None,
    input_shape: Annotated[str, typer.Option(help="Shape of one example, such as 64 or 1,8,8.")] = "8,8",
    classes: Annotated[int, typer.Option(min=2, help="Number of classes.")] = 10,
    as_json: AsJson = False,
) -> None:
    """List the student families with their size: for an input, of utterances, and of text.

    Those that other distributions bring are among them (entry points of the group fedstill.families).
    """
    from fedstill_server.families import ARRAYS, FAMILIES, TEXT, UTTERANCES

    shape = _shape(input_shape)
    wanted = list(FAMILIES.named(names, where="families")) if names else None
    of_tasks = {
        task: (*FAMILIES.of_task(task), *sizes)
        for task, sizes in (
            (ARRAYS, ("mlp-64-32", "cnn-4-8")),
            (UTTERANCES, ()),
            (TEXT, ("gru-80-224", "gru-24-96", "ssm-64-128", "transformer-64-4-2")),
        )
    }
    every = (*of_tasks[ARRAYS], *of_tasks[UTTERANCES], *of_tasks[TEXT], *FAMILIES.own())
    lines = {name: _family_line(name, shape, classes) for name in (wanted or every)}
    if as_json:
        print(json.dumps(lines, indent=1))
        return
    for name, line in lines.items():
        origin = f"; {line['origin']}" if FAMILIES.is_own(name) else ""
        if line["parameters"] is None:
            typer.echo(f"{name:14s} {line['of']}{origin}")
            continue
        size = f"{line['parameters']:9,d} parameters, {4 * line['parameters']:11,d} bytes as float32"
        typer.echo(f"{name:14s} {size}; {line['of']}{origin}")
    if wanted is None:
        typer.echo(
            "Widths are in the names of sized ones: any mlp-<n>-<n>.., cnn-<n>-<n> and gru-<n>-<n> will do. "
            "Your own are named as module:Net."
        )


def _family_line(name: str, shape: tuple[int, ...], classes: int) -> dict[str, Any]:
    """How large a family's student is, for which examples, and who brings it; or what is wrong with it."""
    from fedstill_proto.arrays import parameter_specs
    from fedstill_proto.text.ngrams import NgramHashing

    from fedstill_server.families import ARRAYS, FAMILIES, TEXT, UTTERANCES, initial_parameters

    tried = {
        ARRAYS: (f"arrays, {classes} classes", shape, classes),
        UTTERANCES: (f"utterances, {classes} classes", (NgramHashing().places,), classes),
        TEXT: (f"text, {_WORDS:,} words", (_PLACES,), _WORDS),
    }
    origin = FAMILIES.origin(name)
    try:
        task = FAMILIES.task_of(name)
        kind, of, outputs = tried.get(task, (task, (), 0))
        if not of:  # a task of one's own, whose examples nobody here knows
            return {"parameters": None, "of": kind, "origin": origin}
        specs = parameter_specs(initial_parameters(name, of, outputs, 0))
    except FedstillError as error:
        if not FAMILIES.is_own(name):
            raise
        return {"parameters": None, "of": str(error), "origin": origin}
    return {"parameters": sum(spec.size for spec in specs), "of": kind, "origin": origin}


def main() -> None:
    """The console script: errors that are meant to happen are one line."""
    search_current_folder()
    try:
        with explain_missing("fedstill-server"):
            cli()
    except FedstillError as error:
        typer.echo(f"fedstill-server: {error}", err=True)
        sys.exit(2)


def _privacy_line(config: FleetConfig, store: RunStore, records: list[RoundRecord]) -> str:
    from fedstill_server.fleet.generations import spent_rho
    from fedstill_server.privacy.accountant import epsilon_of_gaussians, epsilon_of_rounds
    from fedstill_server.rounds.most_asked import most_releases

    rule, rounds = config.privacy, most_releases(store, config, records)
    assert rule is not None
    if config.begins_after:  # of several generations, each with its own noise
        epsilon = epsilon_of_gaussians(spent_rho(store.folder.parent), rule.delta)
    else:
        epsilon = epsilon_of_rounds(rule.noise_multiplier, rounds, rule.delta)
    return (
        f"privacy {rule.mode}: epsilon {epsilon:.2f} at delta {rule.delta:g} spent by the device that was "
        f"asked most, in {rounds} rounds; noise multiplier {rule.noise_multiplier:.3g}, clip {rule.clip:g}"
    )


def _shape(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise FedstillError(f"--input-shape: {text!r} is not a list of sizes such as 1,8,8") from None


if __name__ == "__main__":
    main()
