"""The commands that need an agent's home: observe, status, forget and serve."""

from __future__ import annotations

import datetime
import logging
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from fedstill_proto.errors import FedstillError

from fedstill_client.agent_types import AgentStatus, check_precision
from fedstill_client.commands.options import (
    AgentCommand,
    HomeOption,
    JsonOption,
    PrecisionOption,
    ResizeOption,
)
from fedstill_client.commands.output import print_facts, print_json, print_line
from fedstill_client.commands.paths import check_file
from fedstill_client.commands.reach import reach
from fedstill_client.home import AgentHome

if TYPE_CHECKING:
    from fedstill_client.agent.agent import Agent
    from fedstill_client.service.client import AgentClient

_OBSERVED_AT_ONCE = 256  # examples in a call
_ROW = re.compile(r"(?:utterances|labels|texts)\[(\d+)\]")


def register(app: typer.Typer) -> None:
    """Add the commands to fedstill-agent."""
    app.command(name="observe", cls=AgentCommand)(observe_command)
    app.command(name="status", cls=AgentCommand)(status_command)
    app.command(name="forget", cls=AgentCommand)(forget_command)
    app.command(name="serve", cls=AgentCommand)(serve_command)


def observe_command(
    examples: Annotated[
        Path | None,
        typer.Option(
            "--input",
            help="A .npz file with arrays x and y, a table (.csv, .parquet) with the column of the labels, a "
            "folder of pictures or windows by class, or a .csv of utterances or texts: text,label.",
            show_default=False,
        ),
    ] = None,
    text: Annotated[str | None, typer.Option(help="An utterance.", show_default=False)] = None,
    intent: Annotated[str | None, typer.Option(help="The name of its intent.", show_default=False)] = None,
    home: HomeOption = None,
    resize: ResizeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Keep private examples and their labels: the student learns from them, and they never leave the device.

    x is \\[n, *the student's input shape], y \\[n] class numbers (\\[n, *words] for a student of text). One
    in five is set aside for good, to measure the student on. When the command ends, all are on the disk. Of
    an utterance, the numbers that an assistant's student takes are kept, and not the text.

    [bold]Examples[/bold]

      fedstill-agent observe --home /var/lib/fedstill --input today.npz

      fedstill-agent observe --text "start rosie" --intent HassVacuumStart

      fedstill-agent observe --input today.npz --json
    """
    if (examples is None) == (text is None) or (text is None) != (intent is None):
        raise FedstillError("give --input FILE, or --text UTTERANCE with --intent NAME.")
    if examples is not None:
        check_file(examples)
    with reach(home) as agent:
        if examples is None:
            given = _utterances("utterance", [(0, text or "", intent or "")])
        else:
            given = _to_observe(examples, agent.status(), resize=resize)
        ids = _observe(agent, given)
        status = agent.status()
    if as_json:
        print_json({"ids": ids, **_example_facts(status)})
    else:
        held = f"{status.training_examples} to learn from, {status.held_out_examples} held out"
        print_line(f"{len(ids)} {given.kind} kept; the device has {held}.")


def observe_file(agent: Agent | AgentClient, file: Path) -> list[int]:
    """Keep the examples of a file, as the command does; gives their ids."""
    return _observe(agent, _to_observe(file, agent.status(), resize=False))


def _observe(agent: Agent | AgentClient, given: _ToObserve) -> list[int]:
    ids: list[int] = []
    for start in range(0, given.count, _OBSERVED_AT_ONCE):
        try:
            ids += given.observe(agent, slice(start, start + _OBSERVED_AT_ONCE))
        except FedstillError as error:
            kept = f" The {start} rows before are kept." if start else ""
            raise FedstillError(f"{given.told(str(error), start)}{kept}") from None
    return ids


@dataclass(frozen=True)
class _ToObserve:
    """What to call the examples, how many there are, how an agent is given a part, and where each is from."""

    where: str
    kind: str
    count: int
    observe: Callable[[Agent | AgentClient, slice], tuple[int, ...]]
    row_name: Callable[[int], str]

    def told(self, problem: str, start: int) -> str:
        """An agent's error on a part that begins at a row, with the place that the row is from."""
        found = _ROW.search(problem)
        where = self.where if found is None else self.row_name(start + int(found[1]))
        return f"{where}: {_ROW.sub('', problem, count=1).removeprefix('.').removeprefix(': ')}"


def _utterances(where: str, said: list[tuple[int, str, str]]) -> _ToObserve:
    pairs = [(text, intent) for _, text, intent in said]
    return _ToObserve(
        where,
        "utterances",
        len(pairs),
        lambda agent, part: agent.observe_intents(pairs[part]),
        lambda row: f"{where}: line {said[row][0]}" if said[row][0] else where,
    )


def _labelled_texts(file: Path) -> _ToObserve:
    """The texts of a table with the columns text and label; raises DataError where one is missing."""
    from fedstill_proto.readers.tables import read_table

    table = read_table(file)
    pairs = list(zip(table.texts("text"), table.texts("label"), strict=True))
    return _ToObserve(
        str(file),
        "texts",
        len(pairs),
        lambda agent, part: agent.observe_intents(pairs[part]),
        lambda row: f"{file}: {table.rows[row]}",
    )


def _to_observe(file: Path, status: AgentStatus, *, resize: bool) -> _ToObserve:
    from fedstill_proto.readers.columns import TableColumns
    from fedstill_proto.readers.given import is_table

    columns = TableColumns.from_json(status.columns)
    if status.texts and is_table(file):
        return _labelled_texts(file)
    if file.suffix.lower() == ".csv" and columns is None:
        from fedstill_proto.text.utterances import read_numbered_utterances

        return _utterances(str(file), read_numbered_utterances(file))
    if status.label_shape:
        from fedstill_client.model.examples import read_npz

        arrays = read_npz(file, ("x", "y"))
        x, labels, row_name = arrays["x"], arrays["y"], lambda row: f"{file}: row {row}"
        if x.ndim == 0 or labels.ndim == 0 or len(x) != len(labels):
            problem = f"x has shape {list(x.shape)}, y {list(labels.shape)}; give one label an example."
            raise FedstillError(f"{file}: {problem}")
    else:
        from fedstill_client.model.given_files import GivenForm, named_labels, read_given

        given = read_given(file, GivenForm(shape=status.input_shape, columns=columns, resize=resize))
        labels = named_labels(given, classes=status.classes, names=status.class_names)
        x, row_name = given.x, given.row_name
    return _ToObserve(
        str(file), "examples", len(x), lambda agent, part: agent.observe(x[part], labels[part]), row_name
    )


def status_command(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show what the agent has and does: its student, its examples, what has left the device, and its fleet:
    whether it is connected, when it looks for a round again, the last round, and the last refusal.

    [bold]Examples[/bold]

      fedstill-agent status --home /var/lib/fedstill

      fedstill-agent status --json
    """
    from fedstill_client.doctor.standing import standing_facts
    from fedstill_client.service.client import AgentClient

    with reach(home) as agent:
        facts = {**vars(agent.status()), "service_runs": isinstance(agent, AgentClient)}
    if AgentHome.is_at((at := AgentHome.given(home)).folder):
        facts |= standing_facts(at)
    if as_json:
        print_json(facts)
    else:
        facts["student_run"] = facts["student_run"] or "none: the package's own student answers"
        print_facts(facts)


def forget_command(
    home: HomeOption = None,
    ids: Annotated[list[int] | None, typer.Option("--id", help="An example; may be given again.")] = None,
    before: Annotated[
        str | None,
        typer.Option(help="Examples from before this time: 2026-01-31, or 2026-01-31T18:00 (local time)."),
    ] = None,
    everything: Annotated[bool, typer.Option("--everything", help="All examples.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether to go on.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove private examples, and the personal weights that may have come from them, from the disk too.

    The device then answers with the student that the fleet published. What has left the device in rounds
    cannot be called back: the ledger (fedstill-agent status) shows how much that is.

    [bold]Examples[/bold]

      fedstill-agent forget --home /var/lib/fedstill --id 12 --id 15

      fedstill-agent forget --before 2026-01-31

      fedstill-agent forget --everything --yes --json
    """
    if not (ids or before or everything):
        raise FedstillError("give --id NUMBER, --before TIME or --everything.")
    moment = None if before is None else _seconds(before)
    if not yes and not as_json:
        typer.confirm("Remove them, and what was learned from them?", abort=True)
    with reach(home) as agent:
        forgotten = agent.forget(ids=tuple(ids) if ids else None, before=moment, everything=everything)
    if as_json:
        print_json(vars(forgotten))
    else:
        learning = ", and a learning that had not ended" if forgotten.learning else ""
        print_line(
            f"{forgotten.examples} examples and {forgotten.students} personal students removed{learning}."
        )


def serve_command(
    home: HomeOption = None,
    threads: Annotated[int, typer.Option(min=1, help="Processor threads of each answer.")] = 1,
    precision: PrecisionOption = "float32",
) -> None:
    """Answer the apps of this user at agent.sock in the home, until SIGTERM or Ctrl-C.

    In Python, an app asks with fedstill_client.AgentClient; any other language takes the contract
    fedstill_proto/v1/agent.proto, which gRPC reflection lists, too.

    [bold]Examples[/bold]

      fedstill-agent serve --home /var/lib/fedstill
    """
    chosen, folder = check_precision(precision), AgentHome.given(home).folder
    from fedstill_client.privacy.policy import adopt
    from fedstill_client.service.server import serve

    if AgentHome.is_at(folder) and (news := adopt(folder)):
        print(news, file=sys.stderr, flush=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    serve(
        folder,
        threads=threads,
        precision=chosen,
        on_ready=lambda socket: print(f"answering at {socket}", file=sys.stderr, flush=True),
    )


def _example_facts(status: AgentStatus) -> dict[str, int]:
    names = ("training_examples", "held_out_examples", "stored_bytes")
    return {name: getattr(status, name) for name in names}


def _seconds(moment: str) -> float:
    try:
        return datetime.datetime.fromisoformat(moment).timestamp()
    except ValueError:
        raise FedstillError(f"--before {moment}: is no time; give 2026-01-31 or 2026-01-31T18:00.") from None
