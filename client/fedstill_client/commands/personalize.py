"""The command personalize: an agent's learning, or that of a plain device folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from fedstill_proto.errors import FedstillError
from fedstill_proto.package.artifact import load_student
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fedstill_client.agent_types import LearningProgress, PersonalizeOptions
from fedstill_client.commands.output import (
    learning_facts,
    personalization_facts,
    print_json,
    print_learning,
    print_personalization,
)
from fedstill_client.commands.predict import DeviceOption, one_at_most
from fedstill_client.commands.reach import HomeOption, JsonOption, reach
from fedstill_client.learning.settings import LearningSettings
from fedstill_client.rounds.device import Device
from fedstill_client.rounds.offline import OFFLINE_SETTINGS, personalize


def register(app: typer.Typer) -> None:
    """Add the command to fedstill-agent."""
    app.command(name="personalize")(personalize_command)


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
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the private examples, at most.", show_default=False)
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Private examples a step: what fits, up to 16.", show_default=False),
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Step size.", show_default=False)] = None,
    soft_weight: Annotated[
        float | None,
        typer.Option(
            help="Weight of what the student knew before (0: forget freely, 1: learn nothing new); 0.3.",
            show_default=False,
        ),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Softness of what it knew; 2.", show_default=False)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the order of the examples; 0.", show_default=False)
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(help="With --home: stop by then.", show_default=False)
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option(help="With --home: take no more steps.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train the device's student on its private examples, here and now, without any server.

    What the student knew before keeps it from forgetting. An agent measures itself on the examples that it
    never trains on, stops when they get no better, and keeps the new student only if it is better; Ctrl-C
    interrupts it, and the next personalize goes on from there. A plain device folder (--device) trains for
    all of its epochs, and keeps the student in its state/.

    [bold]Examples[/bold]

      fedstill-agent personalize --home /var/lib/fedstill

      fedstill-agent personalize --max-seconds 60 --json

      fedstill-agent personalize --device devices/kitchen --start students/mlp-small --epochs 10
    """
    one_at_most(home, device)
    options = PersonalizeOptions(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        temperature=temperature,
        soft_weight=soft_weight,
        seed=seed,
        max_seconds=max_seconds,
        max_steps=max_steps,
    )
    if device is None:
        if start is not None:
            raise FedstillError("--start goes with --device; an agent starts from its installed package.")
        _learn(home, options, as_json=as_json)
        return
    if max_seconds is not None or max_steps is not None:
        raise FedstillError("--max-seconds and --max-steps go with --home; use --epochs with --device.")
    _train_offline(device, OFFLINE_SETTINGS.with_options(options), start, as_json=as_json)


def _learn(home: Path | None, options: PersonalizeOptions, *, as_json: bool) -> None:
    with reach(home) as agent, _progress_bar("epochs", as_json=as_json) as progress:
        bar = progress.add_task("learning", total=None)

        def show(state: LearningProgress) -> None:
            progress.update(bar, completed=state.epoch, total=state.epochs)

        result = agent.personalize(options, on_progress=show)
    if as_json:
        print_json(learning_facts(result))
    else:
        print_learning(result)


def _train_offline(folder: Path, settings: LearningSettings, start: Path | None, *, as_json: bool) -> None:
    opened = Device.open(folder)
    first = None if start is None else load_student(start).parameters
    with _progress_bar("steps", as_json=as_json) as progress:
        bar = progress.add_task("personalizing", total=None)
        done = personalize(
            opened,
            settings,
            start=first,
            on_step=lambda step, steps: progress.update(bar, completed=step, total=steps),
        )
    facts = personalization_facts(opened, done)
    if as_json:
        print_json(facts)
    else:
        print_personalization(done, facts)


def _progress_bar(unit: str, *, as_json: bool) -> Progress:
    columns = (TextColumn("personalizing"), BarColumn(), MofNCompleteColumn(), TextColumn(unit))
    console = Console(stderr=True, quiet=as_json)
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
