"""The commands info and predict: for an agent's home, a plain device folder, or a student package."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from fedstill_proto.errors import FedstillError

from fedstill_client.agent_types import Scope, check_scope
from fedstill_client.commands.options import (
    AgentCommand,
    DeviceOption,
    HomeOption,
    JsonOption,
    ResizeOption,
    ScopeOption,
    StudentOption,
)
from fedstill_client.commands.output import (
    ANSWER_SUFFIXES,
    AnswerMeaning,
    deliver_answers,
    device_facts,
    print_facts,
    print_json,
    print_understanding,
    student_facts,
)
from fedstill_client.commands.paths import (
    check_device_folder,
    check_file,
    check_one_folder,
    check_student_folder,
    check_suffix,
)
from fedstill_client.commands.reach import reach

if TYPE_CHECKING:
    import numpy.typing as npt
    from fedstill_proto.arrays import FloatArray

    from fedstill_client.agent.agent import Agent
    from fedstill_client.service.client import AgentClient

_ANSWERED_AT_ONCE = 256  # examples in a call


def register(app: typer.Typer) -> None:
    """Add the commands to fedstill-agent."""
    app.command(name="info", cls=AgentCommand)(info_command)
    app.command(name="predict", cls=AgentCommand)(predict_command)


def info_command(
    home: HomeOption = None,
    device: DeviceOption = None,
    student: StudentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a folder and show what is in it.

    [bold]Examples[/bold]

      fedstill-agent info --home /var/lib/fedstill

      fedstill-agent info --device devices/kitchen

      fedstill-agent info --student students/mlp-small --json
    """
    _check_folders(home, device, student)
    if student is not None:
        facts = student_facts(student)
    elif device is not None:
        from fedstill_client.rounds.device import FleetDevice

        facts = device_facts(FleetDevice.open(device))
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
            help="A .npz file (its array x), a .csv with one example a line, a table (.csv, .parquet), a "
            "picture, or a folder of such.",
            show_default=False,
        ),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            help="An utterance, whose intent an assistant's student predicts, or a text, whose class one of "
            "sub-words does.",
            show_default=False,
        ),
    ] = None,
    home: HomeOption = None,
    device: DeviceOption = None,
    student: StudentOption = None,
    scope: ScopeOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Write answers there: .npz (classes, probabilities) or .csv (class, a column a class); of "
            "several labels or numbers see the documentation on targets.",
            show_default=False,
        ),
    ] = None,
    resize: ResizeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Answer examples: the class of each, and how sure the student is.

    An agent answers with the device's own student (with the service that runs at its home, if one does), and
    so does a plain device folder (--device). It knows how often this device sees each class ("owner_share" in
    device.json; 0 switches it off). With --scope everyone the fleet's student answers alone, the same on each
    device of the fleet; with --student, a student package as it is. A student of text predicts the word that
    comes next; one of several labels how likely each is; one of numbers a mean and a standard deviation of
    each. An assistant's predicts what an utterance (--text) means and how sure it is, and whether that
    is enough to act on; so does a student of sub-words of the class of a text.

    [bold]Examples[/bold]

      fedstill-agent predict --home /var/lib/fedstill --input scans.npz

      fedstill-agent predict --input scans.npz --scope everyone

      fedstill-agent predict --text "turn on the kitchen light"

      fedstill-agent predict --student students/mlp-small --input scans.npz

      fedstill-agent predict --device devices/kitchen --input scans.csv --output answers.csv
    """
    if text is not None and any(path is not None for path in (device, examples, output)):
        raise FedstillError("--text goes with --home or --student, and without --input and --output.")
    if student is not None and scope is not None:
        raise FedstillError("--scope goes with --home or --device; a student package has one answer.")
    whom = check_scope(scope or "owner")
    _check_folders(home, device, student)
    if text is not None:
        _predict_text(text, home, student, whom, as_json=as_json)
        return
    if examples is None:
        raise FedstillError("give --input FILE, or --text UTTERANCE.")
    check_file(examples)
    if output is not None:
        check_suffix(output, ANSWER_SUFFIXES, "answers")
    if student is not None:
        answers, meaning = _predict_with_package(student, examples, resize=resize)
    elif device is not None:
        answers, meaning = _predict_with_device(device, examples, whom, resize=resize)
    else:
        with reach(home) as agent:
            answers, meaning = _predict_with_agent(agent, examples, whom, resize=resize)
    deliver_answers(answers, meaning, output=output, as_json=as_json)


def _check_folders(home: Path | None, device: Path | None, student: Path | None) -> None:
    check_one_folder(home, device, student)
    if device is not None:
        check_device_folder(device)
    if student is not None:
        check_student_folder(student)


def _predict_text(text: str, home: Path | None, student: Path | None, scope: Scope, *, as_json: bool) -> None:
    if student is None:
        with reach(home) as agent:
            understood = agent.predict_text(text, scope=scope)
    else:
        from fedstill_proto.package.artifact import load_student

        from fedstill_client.agent.texts import predict_class
        from fedstill_client.model.intents import predict_intents

        package = load_student(student)
        reads_subwords = package.manifest.subwords is not None
        understood = predict_class(package, text) if reads_subwords else predict_intents(package, text)
    print_understanding(understood, as_json=as_json)


_Answers = tuple["FloatArray", AnswerMeaning]


def _predict_with_package(student: Path, examples: Path, *, resize: bool) -> _Answers:
    from fedstill_client.model.given_files import GivenForm, read_given
    from fedstill_client.model.predictor import Predictor

    predictor = Predictor.load(student)
    manifest = predictor.manifest
    meaning = AnswerMeaning(manifest.target.kind.value, manifest.class_names)
    if manifest.labels_each_place:
        return predictor.next_words(_read_words(examples)), meaning
    x = read_given(examples, GivenForm.of(manifest, resize=resize)).x
    return predictor.predict(x), meaning


def _predict_with_device(folder: Path, examples: Path, scope: Scope, *, resize: bool) -> _Answers:
    from fedstill_client.model.given_files import GivenForm, read_given
    from fedstill_client.rounds.device import FleetDevice

    device = FleetDevice.open(folder)
    manifest = device.artifact.manifest
    x = read_given(examples, GivenForm.of(manifest, resize=resize)).x
    return device.predict(x, scope=scope), AnswerMeaning(manifest.target.kind.value, manifest.class_names)


def _predict_with_agent(
    agent: Agent | AgentClient, examples: Path, scope: Scope, *, resize: bool
) -> _Answers:
    import numpy as np
    from fedstill_proto.readers.columns import TableColumns

    from fedstill_client.model.given_files import GivenForm, read_given

    status = agent.status()
    columns = TableColumns.from_json(status.columns)
    form = GivenForm(shape=status.input_shape, columns=columns, resize=resize)
    x = _read_words(examples) if status.input_type == "int64" else read_given(examples, form).x
    starts = range(0, max(len(x), 1), _ANSWERED_AT_ONCE)
    parts = [agent.predict(x[start : start + _ANSWERED_AT_ONCE], scope=scope) for start in starts]
    return np.concatenate(parts), AnswerMeaning(status.target, status.class_names)


def _read_words(file: Path) -> npt.NDArray[Any]:
    """Numbers of words [n, words]; the agent checks them."""
    import numpy as np

    from fedstill_client.model.examples import read_npz

    if file.suffix.lower() != ".csv":
        return read_npz(file, ("x",))["x"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # numpy's, on a file without lines
            return np.loadtxt(file, delimiter=",", ndmin=2, dtype=np.int64, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise FedstillError(f"{file}: is not a table of words' numbers with commas: {error}") from None
