"""What the commands of fedstill-server have in common: arguments, help as terminals break it, and reports."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

Fleet = Annotated[Path, typer.Argument(help="The fleet's folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts, and nothing else.")]
Suppress = Annotated[
    Path | None,
    typer.Option(
        help="What students never answer, suggest or write: a constraints.json, or a .txt of a word a line. "
        "It adds to what was said before; what its `lifted` names leaves.",
        show_default=False,
    ),
]


def help_of(command: Callable[..., object]) -> str:
    """A command's docstring, whose paragraphs break where the terminal ends, not where the source does."""
    return "\n\n".join(" ".join(part.split()) for part in (command.__doc__ or "").split("\n\n"))


def report(document: dict[str, object], text: str, as_json: bool) -> None:
    """Print what a command found: the document for scripts, or the text."""
    typer.echo(json.dumps(document, indent=1) if as_json else text)
