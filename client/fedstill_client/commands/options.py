"""Options that several of fedstill-agent's commands share, and options that are made from a dataclass."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer
from fedstill_proto.errors import unknown_name
from typer.core import TyperCommand, TyperGroup, TyperOption

import fedstill_client

RulesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="RULE=VALUE",
        help="A rule of its policy, such as most_epochs=30; may be given again.",
        show_default=False,
    ),
]
HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        help="An agent's home; without it, what FEDSTILL_HOME names, or /var/lib/fedstill.",
        show_default=False,
    ),
]
DeviceOption = Annotated[
    Path | None, typer.Option("--device", help="A plain device folder.", show_default=False)
]
StudentOption = Annotated[
    Path | None, typer.Option("--student", help="A student folder.", show_default=False)
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object for scripts, and nothing else.")
]
ResizeOption = Annotated[
    bool, typer.Option("--resize", help="Resize pictures of another size than the student takes.")
]
ScopeOption = Annotated[
    str | None,
    typer.Option(
        metavar="owner|everyone",
        help="Whom to answer: the device's owner, or everyone, with the fleet's student alone; owner.",
        show_default=False,
    ),
]
PrecisionOption = Annotated[
    str,
    typer.Option(help="Precision of the weights that answer: float32, or int8 where the package has them."),
]


def print_version(asked: bool) -> None:
    """Print the version and end, if that is asked."""
    if asked:
        typer.echo(f"fedstill-agent {fedstill_client.__version__}")
        raise typer.Exit


class AgentGroup(TyperGroup):
    """The commands; a name that is none of theirs is refused with those that are spelled alike."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the arguments begin with; raises UnknownName."""
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise unknown_name("command", args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)


class AgentCommand(TyperCommand):
    """A command that has --version, too, and whose help fits the terminal's width."""

    def __init__(self, name: str | None, **settings: Any) -> None:
        settings["help"] = unwrapped(settings.get("help") or "")
        super().__init__(name, **settings)
        self.params.append(
            TyperOption(
                param_decls=["--version"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=lambda context, option, asked: print_version(bool(asked)),
                help="Print the version.",
            )
        )


def unwrapped(text: str) -> str:
    """A docstring with each of its paragraphs on one line; indented ones, the examples, stay as they are."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(part if part.startswith(" ") else " ".join(part.split("\n")) for part in paragraphs)


def from_dataclass(options: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option for each field of a dataclass, in place of its parameter `options`.

    The help of an option is its field's metadata "help"; what is not given is the field's default, None.

    Args:
        options: The dataclass, whose fields may all be None.

    Returns:
        A decorator for the command.
    """
    hints = typing.get_type_hints(options)
    made = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                hints[field.name], typer.Option(help=field.metadata["help"], show_default=False)
            ],
        )
        for field in fields(options)
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True).parameters
        parameters: list[inspect.Parameter] = []
        for parameter in own.values():
            keyword = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            parameters += made if parameter.name == "options" else [keyword]

        @functools.wraps(command)
        def call(**given: Any) -> None:
            chosen = options(**{option.name: given.pop(option.name) for option in made})
            command(**given, options=chosen)

        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return call

    return decorate
