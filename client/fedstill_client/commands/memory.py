"""Texts that their owner keeps and finds again: fedstill-agent memory, and what it does with them."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from fedstill_proto.errors import FedstillError

from fedstill_client.commands.options import AgentCommand, AgentGroup, HomeOption, JsonOption
from fedstill_client.commands.output import print_facts, print_json, print_line
from fedstill_client.commands.paths import check_file
from fedstill_client.commands.reach import reach

if TYPE_CHECKING:
    from fedstill_client.agent.memory import AgentMemory
    from fedstill_client.memory_types import KeptMemory, MemoryAnswer
    from fedstill_client.service.memory_client import MemoryClient

_FILE_LIMIT_BYTES = 8 << 20
_SHOWN = 50  # memories, without --json
_SHOWN_CHARACTERS = 200  # of each


def register(app: typer.Typer) -> None:
    """Add the commands to fedstill-agent."""
    group = typer.Typer(
        cls=AgentGroup,
        invoke_without_command=True,
        help="Texts that you keep and find again by what they mean: add some, ask, list, forget.",
    )
    group.callback(invoke_without_command=True)(memory_command)
    for name, command in (
        ("add", add_command),
        ("ask", ask_command),
        ("list", list_command),
        ("forget", forget_memory_command),
    ):
        group.command(name=name, cls=AgentCommand)(command)
    app.add_typer(group, name="memory")


def memory_command(context: typer.Context, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show how much is kept: texts, bytes, and where they are from.

    The texts lie in the private store and never leave the device; nothing learns from them. The student of
    the installed package finds them: it has to be one of sub-words.

    [bold]Examples[/bold]

      fedstill-agent memory add --input notes.txt

      fedstill-agent memory ask "when does the boiler get its service?"

      fedstill-agent memory forget --source notes.txt
    """
    if context.invoked_subcommand is not None:
        return
    with _memory(home) as memory:
        facts = memory.facts()
    if as_json:
        print_json({**vars(facts), "sources": dict(facts.sources)})
    else:
        sources = ", ".join(f"{name} ({many})" for name, many in facts.sources)
        print_facts({**vars(facts), "sources": sources or "none"})


def add_command(
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="A text.", show_default=False)] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--input",
            help="A file in place of TEXT: plain text, kept as passages, or a .csv with the columns text and "
            "maybe label.",
            show_default=False,
        ),
    ] = None,
    label: Annotated[
        str, typer.Option(help="What it is; for a student of classes, the name of one.", show_default=False)
    ] = "",
    source: Annotated[
        str, typer.Option(help="Where it is from; of a file, its name.", show_default=False)
    ] = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep texts. All are on the disk when the command ends, or none.

    [bold]Examples[/bold]

      fedstill-agent memory add "the spare key is with Mrs Baker"

      fedstill-agent memory add --input notes.txt

      fedstill-agent memory add "my parcel is late" --label complaint
    """
    if (text is None) == (file is None):
        raise FedstillError("give a TEXT, or --input FILE.")
    given = {label: [text or ""]} if file is None else _read(file, label)
    named = source or ("" if file is None else file.name)
    ids: list[int] = []
    with _memory(home) as memory:
        for each, texts in given.items():
            ids += memory.add(texts, label=each, source=named)
    if as_json:
        print_json({"ids": ids})
    else:
        print_line(f"{len(ids)} passages kept.")


def ask_command(
    question: Annotated[str, typer.Argument(help="What to look for.", show_default=False)],
    k: Annotated[int, typer.Option(help="How many texts at most.")] = 5,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the texts nearest to a question, and what it is by the labels of such texts and by the student.

    [bold]Examples[/bold]

      fedstill-agent memory ask "who has the spare key?"

      fedstill-agent memory ask "who has the spare key?" --k 1 --json
    """
    with _memory(home) as memory:
        answer = memory.ask(question, k)
    if as_json:
        print_json(
            {
                "found": [{**vars(one.memory), "similarity": one.similarity} for one in answer.found],
                "classes": [vars(one) for one in answer.classes],
                "share": answer.share,
            }
        )
    else:
        _print_answer(answer)


def list_command(
    source: Annotated[str | None, typer.Option(help="Those from there only.", show_default=False)] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what is kept, the newest first.

    [bold]Examples[/bold]

      fedstill-agent memory list --source notes.txt --json
    """
    with _memory(home) as memory:
        kept = memory.list(source=source)
    if as_json:
        print_json({"memories": [vars(one) for one in kept]})
    else:
        _print_memories(kept)


def forget_memory_command(
    ids: Annotated[list[int] | None, typer.Option("--id", help="A text; may be given again.")] = None,
    source: Annotated[str | None, typer.Option(help="All that are from there.", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--everything", help="All texts.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether to go on.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove texts from the memory, and from the disk. (fedstill-agent forget --everything does so, too.)

    [bold]Examples[/bold]

      fedstill-agent memory forget --id 12 --id 15

      fedstill-agent memory forget --everything --yes
    """
    if bool(ids) + (source is not None) + everything != 1:
        raise FedstillError("give --id NUMBER, --source NAME or --everything: one of them.")
    if not yes and not as_json:
        typer.confirm("Remove them?", abort=True)
    with _memory(home) as memory:
        removed = memory.forget(ids=tuple(ids) if ids else None, source=source, everything=everything)
    if as_json:
        print_json({"removed": removed})
    else:
        print_line(f"{removed} texts removed.")


@contextmanager
def _memory(home: Path | None) -> Iterator[AgentMemory | MemoryClient]:
    with reach(home) as agent:
        yield agent.memory


def _read(file: Path, label: str) -> dict[str, list[str]]:
    """The texts of a file by their labels."""
    from fedstill_proto.readers.given import is_table

    check_file(file)
    if is_table(file):
        from fedstill_proto.readers.tables import read_table

        if label:
            raise FedstillError(f"{file}: brings its labels; leave --label out.")
        found: dict[str, list[str]] = defaultdict(list)
        table = read_table(file)
        labels = table.texts("label") if "label" in table.columns else [""] * len(table)
        for text, each in zip(table.texts("text"), labels, strict=True):
            found[each].append(text)
        return found
    from fedstill_proto.text.text_files import read_text

    return {label: [read_text(file, most_bytes=_FILE_LIMIT_BYTES, error=FedstillError)]}


def _print_answer(answer: MemoryAnswer) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not answer.found:
        print_line("Nothing is kept: fedstill-agent memory add.")
        return
    table = Table("similarity", "id", "text", "label", "source", box=None)
    for one in answer.found:
        kept = one.memory
        row = (kept.text[:_SHOWN_CHARACTERS], kept.label, kept.source)
        table.add_row(f"{one.similarity:.2f}", str(kept.id), *map(Text, row))
    console = Console(soft_wrap=True)
    console.print(table, highlight=False)
    if answer.classes:
        said = ", ".join(f"{one.name} {one.confidence:.1%}" for one in answer.classes)
        print_line(f"By labels (a share of {answer.share:.0%}) and student: {said}.")


def _print_memories(kept: tuple[KeptMemory, ...]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("id", "kept", "text", "label", "source", box=None)
    for one in kept[:_SHOWN]:
        day = f"{datetime.datetime.fromtimestamp(one.kept_at):%Y-%m-%d}"
        row = (one.text[:_SHOWN_CHARACTERS], one.label, one.source)
        table.add_row(str(one.id), day, *map(Text, row))
    Console(soft_wrap=True).print(table, highlight=False)
    if len(kept) > _SHOWN:
        print_line(f"... and {len(kept) - _SHOWN} more: --json has all of them.")
