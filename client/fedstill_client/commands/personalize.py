"""The command personalize: for an agent, or for a plain device folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from fedstill_proto.errors import FedstillError

from fedstill_client.agent_types import LearningProgress, PersonalizeOptions
from fedstill_client.commands.agent import observe_file
from fedstill_client.commands.options import (
    AgentCommand,
    DeviceOption,
    HomeOption,
    JsonOption,
    from_dataclass,
)
from fedstill_client.commands.output import (
    learning_facts,
    offline_facts,
    print_json,
    print_learning,
    print_offline,
)
from fedstill_client.commands.paths import (
    check_device_folder,
    check_file,
    check_one_folder,
    check_student_folder,
)
from fedstill_client.commands.reach import reach

if TYPE_CHECKING:
    from rich.progress import Progress


def register(app: typer.Typer) -> None:
    """Add the command to fedstill-agent."""
    app.command(name="personalize", cls=AgentCommand)(from_dataclass(PersonalizeOptions)(personalize_command))


def personalize_command(
    home: HomeOption = None,
    device: DeviceOption = None,
    start: Annotated[
        Path | None,
        typer.Option(
            help="With --device: a student folder to start from, while the device has no student.",
            show_default=False,
        ),
    ] = None,
    examples: Annotated[
        Path | None,
        typer.Option(
            "--input",
            help="With --home: a file of examples to keep first, as fedstill-agent observe takes it, such "
            "as a .csv of text,label.",
            show_default=False,
        ),
    ] = None,
    *,
    options: PersonalizeOptions,
    as_json: JsonOption = False,
) -> None:
    """Train the device's student on its private examples, here and now, without any server.

    What the fleet's student says of public examples keeps it from forgetting. An agent scores itself on those
    and on its own examples that it never trains on, stops when it gets no better, and keeps the new student
    only if it is better; Ctrl-C interrupts it, and the next personalize goes on from there. A plain device
    folder (--device) trains for all of its epochs, and keeps the student in its state/.

    [bold]Examples[/bold]

      fedstill-agent personalize --home /var/lib/fedstill

      fedstill-agent personalize --input letters.csv

      fedstill-agent personalize --max-seconds 60 --json

      fedstill-agent personalize --device devices/kitchen --start students/mlp-small --epochs 10
    """
    check_one_folder(home, device)
    if device is None:
        if start is not None:
            raise FedstillError("--start goes with --device; an agent starts from its installed package.")
        if examples is not None:
            check_file(examples)
        _learn(home, options, examples, as_json=as_json)
        return
    if examples is not None:
        raise FedstillError("--input goes with --home; a plain device folder learns from its private.npz.")
    if options.max_seconds is not None or options.max_steps is not None:
        raise FedstillError("--max-seconds and --max-steps go with --home; use --epochs with --device.")
    check_device_folder(device)
    if start is not None:
        check_student_folder(start)
    _train_offline(device, options, start, as_json=as_json)


def _learn(home: Path | None, options: PersonalizeOptions, examples: Path | None, *, as_json: bool) -> None:
    with reach(home) as agent, _progress_bar("epochs", as_json=as_json) as progress:
        if examples is not None:
            observe_file(agent, examples)
        bar = progress.add_task("learning", total=None)

        def show(state: LearningProgress) -> None:
            progress.update(bar, completed=state.epoch, total=state.epochs)

        result = agent.personalize(options, on_progress=show)
    if as_json:
        print_json(learning_facts(result))
    else:
        print_learning(result)


def _train_offline(folder: Path, options: PersonalizeOptions, start: Path | None, *, as_json: bool) -> None:
    from fedstill_proto.package.artifact import load_student

    from fedstill_client.learning.settings import LearningSettings
    from fedstill_client.rounds.device import FleetDevice
    from fedstill_client.rounds.offline import personalize

    device = FleetDevice.open(folder)
    settings = LearningSettings.of(device.artifact.manifest).with_options(options)
    first = None if start is None else load_student(start).parameters
    with _progress_bar("steps", as_json=as_json) as progress:
        bar = progress.add_task("personalizing", total=None)
        done = personalize(
            device,
            settings,
            start=first,
            on_step=lambda step, steps: progress.update(bar, completed=step, total=steps),
        )
    facts = offline_facts(device, done)
    if as_json:
        print_json(facts)
    else:
        print_offline(done, facts)


def _progress_bar(unit: str, *, as_json: bool) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("personalizing"), BarColumn(), MofNCompleteColumn(), TextColumn(unit))
    console = Console(stderr=True, quiet=as_json)
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
