"""The commands info and predict: of an agent's home, a plain device folder, or a student package."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from fedstill_proto.arrays import FloatArray
from fedstill_proto.errors import FedstillError
from fedstill_proto.package.artifact import load_student

from fedstill_client.commands.output import (
    deliver_answers,
    device_facts,
    print_facts,
    print_json,
    student_facts,
)
from fedstill_client.commands.reach import HomeOption, JsonOption, Reached, reach
from fedstill_client.commands.utterances import show_understanding
from fedstill_client.model.examples import read_npz, read_unlabelled
from fedstill_client.model.intents import understood_by
from fedstill_client.model.predictor import Predictor
from fedstill_client.rounds.device import Device

DeviceOption = Annotated[
    Path | None, typer.Option("--device", help="A plain device folder.", show_default=False)
]
StudentOption = Annotated[
    Path | None, typer.Option("--student", help="A student folder.", show_default=False)
]
_ANSWERED_AT_ONCE = 256  # examples in a call


def register(app: typer.Typer) -> None:
    """Add the commands to fedstill-agent."""
    app.command(name="info")(info_command)
    app.command(name="predict")(predict_command)


def info_command(
    home: HomeOption = None,
    device: DeviceOption = None,
    student: StudentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a folder and say what is in it.

    [bold]Examples[/bold]

      fedstill-agent info --home /var/lib/fedstill

      fedstill-agent info --device devices/kitchen

      fedstill-agent info --student students/mlp-small --json
    """
    one_at_most(home, device, student)
    if student is not None:
        facts = student_facts(student)
    elif device is not None:
        facts = device_facts(Device.open(device))
    else:
        with reach(home) as agent:
            facts = vars(agent.status())
    if as_json:
        print_json(facts)
    else:
        print_facts(facts)


def predict_command(
    examples: Annotated[
        Path | None,
        typer.Option(
            "--input",
            help="A .npz file (its array x), or a .csv with one example a line.",
            show_default=False,
        ),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(help="An utterance: an assistant's student says what it means.", show_default=False),
    ] = None,
    home: HomeOption = None,
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

    An agent answers with the device's own student (with the service that runs at its home, if one does). It
    knows how often this device sees each class ("label_prior" in device.json; 0 switches it off); so does
    the student of a plain device folder (--device). With --student, the student package answers as it is. A
    student of text answers with the word that comes next. An assistant's says what an utterance (--text)
    means and how sure it is, and whether that is enough to act on.

    [bold]Examples[/bold]

      fedstill-agent predict --home /var/lib/fedstill --input scans.npz

      fedstill-agent predict --text "turn on the kitchen light"

      fedstill-agent predict --student students/mlp-small --input scans.npz

      fedstill-agent predict --device devices/kitchen --input scans.csv --output answers.csv
    """
    one_at_most(home, device, student)
    if text is not None:
        _say_meaning(text, home, device, student, beside=(examples, output), as_json=as_json)
        return
    if examples is None:
        raise FedstillError("give --input FILE, or --text UTTERANCE.")
    if student is not None:
        predictor = Predictor.load(student)
        if predictor.manifest.label_shape:
            probabilities = predictor.next_words(_words(examples))
        else:
            x = read_unlabelled(examples, input_shape=predictor.manifest.input_shape)
            probabilities = predictor.predict(x)
    elif device is not None:
        opened = Device.open(device)
        x = read_unlabelled(examples, input_shape=opened.artifact.manifest.input_shape)
        probabilities = opened.predict(x)
    else:
        with reach(home) as agent:
            probabilities = _answers(agent, examples)
    deliver_answers(probabilities, output=output, as_json=as_json)


def _say_meaning(
    text: str,
    home: Path | None,
    device: Path | None,
    student: Path | None,
    *,
    beside: tuple[Path | None, ...],
    as_json: bool,
) -> None:
    if device is not None or any(each is not None for each in beside):
        raise FedstillError("--text goes with --home or --student, and without --input and --output.")
    if student is None:
        with reach(home) as agent:
            understood = agent.predict_text(text)
    else:
        understood = understood_by(load_student(student), text)
    show_understanding(understood, as_json=as_json)


def one_at_most(*folders: Path | None) -> None:
    """Raises FedstillError where two of --home, --device and --student are given."""
    if sum(folder is not None for folder in folders) > 1:
        raise FedstillError("give one of --home FOLDER, --device FOLDER and --student FOLDER.")


def _answers(agent: Reached, file: Path) -> FloatArray:
    status = agent.status()
    x = (
        _words(file)
        if status.input_type == "int64"
        else read_unlabelled(file, input_shape=status.input_shape)
    )
    starts = range(0, max(len(x), 1), _ANSWERED_AT_ONCE)
    return np.concatenate([agent.predict(x[start : start + _ANSWERED_AT_ONCE]) for start in starts])


def _words(file: Path) -> npt.NDArray[Any]:
    """Numbers of words [n, words]; the agent checks them."""
    if file.suffix.lower() != ".csv":
        return read_npz(file, ("x",))["x"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # numpy's, on a file without lines
            return np.loadtxt(file, delimiter=",", ndmin=2, dtype=np.int64)
    except (OSError, ValueError) as error:
        raise FedstillError(f"{file}: is not a table of words' numbers with commas: {error}") from None
