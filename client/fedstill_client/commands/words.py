"""The owner's own words: fedstill-agent words, and what it does with them."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated

import typer

from fedstill_client.agent_types import OwnWord, WordsAnswer
from fedstill_client.commands.options import AgentCommand, AgentGroup, HomeOption, JsonOption
from fedstill_client.commands.output import print_json, print_line
from fedstill_client.commands.paths import check_file
from fedstill_client.commands.reach import reach

_SHOWN = 50  # words, without --json
WordsArgument = Annotated[list[str], typer.Argument(metavar="WORD...", help="The words.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands to fedstill-agent."""
    group = typer.Typer(
        cls=AgentGroup,
        invoke_without_command=True,
        help="What was learned of your own words: list it, forget a word, block one, bring a dictionary.",
    )
    group.callback(invoke_without_command=True)(words_command)
    for name, command in (
        ("forget", forget_words_command),
        ("block", block_command),
        ("unblock", unblock_command),
        ("blocked", blocked_command),
        ("import", import_command),
        ("export", export_command),
    ):
        group.command(name=name, cls=AgentCommand)(command)
    app.add_typer(group, name="words")


def words_command(context: typer.Context, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List your own words: those that were learned from what you typed, and those that you imported.

    With each, how often it was typed and when last; and how many numbers, passwords, addresses and other
    private parts of texts were left out.

    [bold]Examples[/bold]

      fedstill-agent words --json

      fedstill-agent words forget quillfeather

      fedstill-agent words block damn

      fedstill-agent words import dictionary.txt
    """
    if context.invoked_subcommand is not None:
        return
    with reach(home) as agent:
        answer, blocked = agent.words(), agent.words("blocked")
    if as_json:
        print_json(
            {
                "words": [vars(word) for word in answer.words],
                "left_out": answer.left_out,
                "blocked": len(blocked.words),
            }
        )
    else:
        _print_words(answer)
        print_line(
            f"{len(answer.words)} words of your own, {len(blocked.words)} blocked. {answer.left_out} parts "
            "of texts are left out: private ones (numbers, passwords, addresses, ...) and forgotten words."
        )


def forget_words_command(words: WordsArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Forget words: they go out of all texts that were kept, out of the counts and the dictionary.

    Personal students that may have learned them are dropped, too, as by fedstill-agent forget: the device
    answers with the fleet's student, until it has learned again from the texts that are left. A word that is
    typed again is learned again: block it to prevent that.

    [bold]Examples[/bold]

      fedstill-agent words forget quillfeather nessie
    """
    with reach(home) as agent:
        answer = agent.words("forget", words)
    if as_json:
        print_json(_facts(answer))
    else:
        print_line(
            f"{answer.changed} words forgotten, out of {answer.texts} texts; {answer.students} personal "
            "students dropped that may have learned them."
        )


def block_command(words: WordsArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Block words, of the public list as well: they are neither suggested nor learned from now on.

    What was counted of them counts no more; texts that hold them stay until the words are forgotten.

    [bold]Examples[/bold]

      fedstill-agent words block damn
    """
    _change("block", words, home, as_json, "{} words blocked.")


def unblock_command(words: WordsArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Suggest and learn words again that were blocked.

    [bold]Examples[/bold]

      fedstill-agent words unblock damn
    """
    _change("unblock", words, home, as_json, "{} words are blocked no longer.")


def blocked_command(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the words that are blocked.

    [bold]Examples[/bold]

      fedstill-agent words blocked --json
    """
    with reach(home) as agent:
        blocked = [word.word for word in agent.words("blocked").words]
    if as_json:
        print_json({"blocked": blocked})
    else:
        print_line("\n".join(blocked) if blocked else "No word is blocked.")


def import_command(
    file: Annotated[Path, typer.Argument(help="The dictionary.", show_default=False)],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import a personal dictionary: its words complete and correct from then on, all of them or none.

    Plain text with a word a line, and a tab and a count where it is known; Hunspell's and LibreOffice's
    personal lists (.dic); what Gboard and other keyboards of Android export (shortcut, tab, word, tab,
    language). 50,000 words and 8 MiB at most.

    [bold]Examples[/bold]

      fedstill-agent words import dictionary.txt
    """
    check_file(file)
    from fedstill_client.keyboard.personal_dictionary import read_personal_dictionary

    read = read_personal_dictionary(file)
    with reach(home) as agent:
        answer = agent.words("import", read.words)
    if as_json:
        print_json({"imported": answer.changed, "private": answer.left_out, "left_out": read.left_out})
    else:
        left = f" {read.left_out} entries are not one word." if read.left_out else ""
        private = f" {answer.left_out} look private, and are left out." if answer.left_out else ""
        print_line(f"{answer.changed} words imported.{left}{private}")


def export_command(
    file: Annotated[Path, typer.Argument(help="The file to write.", show_default=False)],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write your own words to a file, each with a tab and its count: import takes it again.

    [bold]Examples[/bold]

      fedstill-agent words export dictionary.txt
    """
    from fedstill_client.keyboard.personal_dictionary import write_personal_dictionary

    with reach(home) as agent:
        words = agent.words("export").words
    written = write_personal_dictionary(file, words)
    if as_json:
        print_json({"exported": written, "file": str(file)})
    else:
        print_line(f"{written} words written to {file}.")


def _change(action: str, words: list[str], home: Path | None, as_json: bool, said: str) -> None:
    from fedstill_client.agent_types import check_words_action

    with reach(home) as agent:
        answer = agent.words(check_words_action(action), words)
    if as_json:
        print_json(_facts(answer))
    else:
        print_line(said.format(answer.changed))


def _facts(answer: WordsAnswer) -> dict[str, int | bool]:
    return {
        "changed": answer.changed,
        "texts": answer.texts,
        "students": answer.students,
        "learning": answer.learning,
    }


def _print_words(answer: WordsAnswer) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("word", "times", "last", "", box=None)
    for word in answer.words[:_SHOWN]:
        table.add_row(word.word, str(word.count), _day(word), "imported" if word.imported else "")
    Console().print(table, highlight=False, markup=False)
    if len(answer.words) > _SHOWN:
        print_line(f"... and {len(answer.words) - _SHOWN} more: --json has all of them.")


def _day(word: OwnWord) -> str:
    return f"{datetime.datetime.fromtimestamp(word.last):%Y-%m-%d}" if word.last else ""
