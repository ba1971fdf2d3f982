"""fedstill-agent: a device's commands, for people and for scripts (--json)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from fedstill_proto.artifact import load_student
from fedstill_proto.errors import FedstillError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fedstill_client.agent_output import (
    deliver_answers,
    device_facts,
    personalization_facts,
    print_facts,
    print_json,
    print_personalization,
    student_facts,
)
from fedstill_client.commands import fleet
from fedstill_client.device import Device
from fedstill_client.examples import read_unlabelled
from fedstill_client.offline import OfflineWork, personalize
from fedstill_client.predictor import Predictor

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A device of a fedstill fleet: it holds a small student, personalizes it on data that never leaves "
    "it, and answers from it. No torch, only ONNX Runtime.\n\n"
    "A [bold]device folder[/bold] holds device.json, artifact/, private.npz, and maybe public.npz and "
    "global_test.npz; what the device learns is kept in its state/. "
    "A [bold]student folder[/bold] is a student package as the server exports it.\n\n"
    "To take part in a fleet's rounds, start Flower's SuperNode with the device folder:\n\n"
    "  flower-supernode --superlink HOST:9092 --node-config 'fedstill-device=\"/var/lib/fedstill\"' ...",
)

DeviceOption = Annotated[Path | None, typer.Option("--device", help="A device folder.", show_default=False)]
StudentOption = Annotated[
    Path | None, typer.Option("--student", help="A student folder.", show_default=False)
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object for scripts, and nothing else.")
]


@app.command(name="info")
def info_command(
    device: DeviceOption = None, student: StudentOption = None, as_json: JsonOption = False
) -> None:
    """Check a folder and say what is in it.

    [bold]Examples[/bold]

      fedstill-agent info --device /var/lib/fedstill

      fedstill-agent info --student students/mlp-small --json
    """
    _one_of(device, student)
    facts = student_facts(student) if student is not None else device_facts(Device.open(_given(device)))
    if as_json:
        print_json(facts)
        return
    print_facts(facts)


@app.command(name="predict")
def predict_command(
    examples: Annotated[
        Path, typer.Option("--input", help="A .npz file (its array x), or a .csv with one example a line.")
    ],
    device: DeviceOption = None,
    student: StudentOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Write answers there: .npz (classes, probabilities) or .csv (class, a column a class).",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Answer examples: the class of each, and how sure the student is.

    With --device, the device's own student answers, and knows how often this device sees each class
    ("label_prior" in device.json; 0 switches it off). With --student, the student package answers as it is.

    [bold]Examples[/bold]

      fedstill-agent predict --student students/mlp-small --input scans.npz

      fedstill-agent predict --device /var/lib/fedstill --input scans.csv --output answers.csv
    """
    _one_of(device, student)
    if student is not None:
        predictor = Predictor.load(student)
        x = read_unlabelled(examples, input_shape=predictor.manifest.input_shape)
        probabilities = predictor.predict(x)
    else:
        opened = Device.open(_given(device))
        x = read_unlabelled(examples, input_shape=opened.artifact.manifest.input_shape)
        probabilities = opened.predict(x)
    deliver_answers(probabilities, output=output, as_json=as_json)


@app.command(name="personalize")
def personalize_command(
    device: Annotated[Path, typer.Option("--device", help="A device folder.")],
    start: Annotated[
        Path | None,
        typer.Option(
            help="A student folder to start from, while the device has no student.", show_default=False
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the private examples.")] = OfflineWork.epochs,
    batch_size: Annotated[
        int, typer.Option(help="Private examples a step; 0 is what the artifact takes, up to 16.")
    ] = OfflineWork.batch_size,
    learning_rate: Annotated[float, typer.Option(help="Step size.")] = OfflineWork.learning_rate,
    soft_weight: Annotated[
        float,
        typer.Option(help="Weight of what the student knew before (0: forget freely, 1: learn nothing new)."),
    ] = OfflineWork.soft_weight,
    temperature: Annotated[float, typer.Option(help="Softness of what it knew.")] = OfflineWork.temperature,
    seed: Annotated[int, typer.Option(help="Of the order of the examples.")] = OfflineWork.seed,
    as_json: JsonOption = False,
) -> None:
    """Train the device's student on its private examples, here and now, without any server.

    The student from before keeps the new one from forgetting, on the public set (if public.npz is there and
    the artifact reads soft labels). Prints accuracy on the held-out private examples before and after, and
    on everyone's where global_test.npz is there. The new student is kept in the device's state/.

    [bold]Examples[/bold]

      fedstill-agent personalize --device /var/lib/fedstill --start students/mlp-small

      fedstill-agent personalize --device /var/lib/fedstill --epochs 10 --soft-weight 0.5 --json
    """
    opened = Device.open(device)
    first = None if start is None else load_student(start).parameters
    work = OfflineWork(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        temperature=temperature,
        soft_weight=soft_weight,
        seed=seed,
    )
    console = Console(stderr=True, quiet=as_json)
    columns = (TextColumn("personalizing"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        bar = progress.add_task("personalizing", total=None)
        done = personalize(
            opened,
            work,
            start=first,
            on_step=lambda step, steps: progress.update(bar, completed=step, total=steps),
        )
    facts = personalization_facts(opened, done)
    if as_json:
        print_json(facts)
    else:
        print_personalization(done, facts)


fleet.register(app)


def main() -> None:
    """Run the command line; what fedstill refuses is one line on stderr and exit code 2."""
    try:
        app()
    except FedstillError as error:
        Console(stderr=True, soft_wrap=True).print(
            f"error: {error}", style="red", markup=False, highlight=False
        )
        sys.exit(2)


def _one_of(device: Path | None, student: Path | None) -> None:
    if (device is None) == (student is None):
        raise FedstillError("give either --device FOLDER or --student FOLDER.")


def _given(folder: Path | None) -> Path:
    assert folder is not None  # _one_of has seen to it
    return folder


if __name__ == "__main__":
    main()
