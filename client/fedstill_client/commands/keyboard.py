"""The commands of a student of text: suggest, and observe-text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from fedstill_proto.errors import FedstillError

from fedstill_client.agent_types import Suggestion
from fedstill_client.commands.options import AgentCommand, HomeOption, JsonOption
from fedstill_client.commands.output import print_json, print_line
from fedstill_client.commands.paths import check_file
from fedstill_client.commands.reach import reach

_FILE_LIMIT_BYTES = 64 << 20


def register(app: typer.Typer) -> None:
    """Add the commands to fedstill-agent."""
    app.command(name="suggest", cls=AgentCommand)(suggest_command)
    app.command(name="observe-text", cls=AgentCommand)(observe_text_command)


def suggest_command(
    context: Annotated[str, typer.Argument(help="The text before the word.")] = "",
    prefix: Annotated[str, typer.Option(help="The letters of the word so far.")] = "",
    k: Annotated[int, typer.Option("-k", min=1, help="How many words.")] = 3,
    layout: Annotated[
        str,
        typer.Option(help="The keyboard that it is typed on, by name; that of the device without it."),
    ] = "",
    private: Annotated[
        bool,
        typer.Option(
            "--private", help="By the installed package alone, with nothing of yours; nothing is kept of it."
        ),
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Suggest the next word of a text, or what completes or corrects the letters of one.

    [bold]Examples[/bold]

      fedstill-agent suggest "good morrow to"

      fedstill-agent suggest "good morrow to" --prefix yo -k 5 --json

      fedstill-agent suggest --prefix schoem --layout qwertz

    From three letters on, words are found in spite of typing errors, neighbouring keys the likeliest ones:
    --layout says which those are. "layout" in the home's device.json is the device's; without it, it is the
    usual one of the package's languages. A wrong name is answered with a list of all.
    """
    with reach(home) as agent:
        suggestions = agent.suggest(context, prefix, k, layout=layout, private=private)
    if as_json:
        print_json({"suggestions": [vars(suggestion) for suggestion in suggestions]})
    else:
        _print_suggestions(suggestions)


def _print_suggestions(suggestions: list[Suggestion]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("word", "chance", "why", box=None)
    for suggestion in suggestions:
        why = f"{suggestion.kind}, a word of your own" if suggestion.own else suggestion.kind
        table.add_row(suggestion.word, f"{suggestion.chance:.4f}", why)
    Console().print(table, highlight=False)


def observe_text_command(
    text: Annotated[str | None, typer.Argument(help="What was typed.", show_default=False)] = None,
    file: Annotated[
        Path | None, typer.Option("--input", help="A file of texts, one a line.", show_default=False)
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="Of a field that is nobody's business: nothing of it is kept.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep private texts: their words are suggested from then on, and the student learns from them.

    Numbers of four digits and more, and what looks like a password, key, card or address, are kept nowhere.
    The rest never leaves the device. One in five is set aside for good, to measure on. When the command
    ends, all are on the disk.

    [bold]Examples[/bold]

      fedstill-agent observe-text "see you at Quillfeather tonight"

      fedstill-agent observe-text --input typed.txt --json
    """
    if (text is None) == (file is None):
        raise FedstillError("give a text, or --input FILE with one a line.")
    texts = [text or ""] if file is None else _read_texts(file)
    ids: list[int] = []
    left_out = 0
    with reach(home) as agent:
        for typed in texts:
            try:
                kept_text = agent.observe_text(typed, learn=not private)
            except FedstillError as error:
                where = "" if file is None else f"{file}: {typed[:40]!r}: "
                kept = f" The {len(ids)} texts before are kept." if ids else ""
                raise FedstillError(f"{where}{error}{kept}") from None
            left_out += kept_text.left_out
            if kept_text:
                ids.append(int(kept_text))
    if as_json:
        print_json({"ids": ids, "left_out": left_out})
    else:
        parts = f" {left_out} parts look private, and are kept nowhere." if left_out else ""
        print_line(f"{len(ids)} texts kept.{parts}")


def _read_texts(file: Path) -> list[str]:
    """The lines of a file that have a word in them."""
    from fedstill_proto.text.private_text import private_parts
    from fedstill_proto.text.text_files import read_lines
    from fedstill_proto.text.vocabulary import is_word, split

    check_file(file)
    lines = read_lines(file, most_bytes=_FILE_LIMIT_BYTES, error=FedstillError)
    return [line for line in lines if any(map(is_word, split(line))) or private_parts(line)]
