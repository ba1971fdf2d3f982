"""Options of commands that are made from dataclasses of options, with their help and the panels of `--help`.

A command of the class MethodCommand shows the options of its method, too, and says of an unknown option that
it is one of a method, where it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, TypeVar

import click
import typer
from fedstill_proto.errors import FedstillError
from typer.core import TyperCommand, TyperOption

from fedstill_server.config.options import Option, options_of

Record = TypeVar("Record")
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="OPTION=VALUE",
        help="An option of the method; may be given several times. fedstill-server methods NAME lists them.",
        rich_help_panel="What is exchanged",
    ),
]
_TYPES: dict[type, Any] = {int: int, float: float, str: str, bool: bool}


def takes(
    *kinds: type, leave_out: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of dataclasses, behind its own.

    Args:
        kinds: Dataclasses of options; of two of one name, the first counts.
        leave_out: Names of options that the command does not have.

    Returns:
        A decorator. The command gets the values of all by name as its argument `asked`, a dictionary; what
        the dataclasses make of it, is checked by them.
    """
    options = {one.name: one for kind in reversed(kinds) for one in options_of(kind)}
    ordered = {one.name: options[one.name] for kind in kinds for one in options_of(kind)}
    wanted = {name: one for name, one in ordered.items() if name not in leave_out}

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        own = [one for one in signature(command, eval_str=True).parameters.values() if one.name != "asked"]
        every = [*own, *(_parameter(one) for one in wanted.values())]

        @functools.wraps(command)
        def called(**values: Any) -> None:
            asked = {name: _value(one, values[name]) for name, one in wanted.items()}
            command(**{one.name: values[one.name] for one in own}, asked=asked)

        every = [one.replace(kind=Parameter.KEYWORD_ONLY) for one in every]
        called.__signature__ = Signature(every)  # type: ignore[attr-defined]
        called.__annotations__ = {one.name: one.annotation for one in every}
        return called

    return decorated


def taken(kind: type[Record], asked: Mapping[str, Any], **more: Any) -> Record:
    """The dataclass of those of a command's options that are its own; `more` are fields beside them."""
    return kind(**{one.name: asked[one.name] for one in options_of(kind) if one.name in asked}, **more)


class MethodCommand(TyperCommand):
    """A command with an option --method."""

    usual: tuple[str, ...] = ("fedstill",)  # whose options `--help` shows where none is named

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[__name__] = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            name = error.option_name.lstrip("-").replace("-", "_")
            if not (owners := _methods_with(name)):
                raise
            raise click.NoSuchOption(
                error.option_name,
                f"No such option: {error.option_name}. It is an option of the method {', '.join(owners)}: "
                f"use --set {name}=VALUE.",
                ctx=ctx,
            ) from None

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        before = self.params
        self.params = [*before, *self._of_methods(ctx.meta.get(__name__, []))]
        try:
            super().format_help(ctx, formatter)
        finally:
            self.params = before

    def _of_methods(self, words: list[str]) -> list[click.Parameter]:
        """What --set can set, as lines of `--help`."""
        from fedstill_server.methods import METHODS

        shown: list[click.Parameter] = []
        for name in _named_methods(words) or self.usual:
            try:
                options = options_of(METHODS.load(name))
            except FedstillError:  # --help tells of the others
                continue
            shown += [_help_line(one, f"Options of the method {name}") for one in options]
        return shown


class CompareCommand(MethodCommand):
    """A command with an option --methods."""

    usual = ()


def _named_methods(words: list[str]) -> list[str]:
    """The methods that a command line names."""
    found: list[str] = []
    for word, following in zip(words, [*words[1:], ""], strict=True):
        option, equals, value = word.partition("=")
        if option in ("--method", "--methods"):
            found += (value if equals else following).split(",")
    return [name.strip() for name in found if name.strip()]


def _methods_with(option: str) -> list[str]:
    from fedstill_server.methods import METHODS, methods_that

    if not option.isidentifier():
        return []
    with_it = methods_that(lambda method: option in {one.name for one in options_of(method)})
    return [name for name in with_it if name in METHODS]


def _help_line(one: Option, panel: str) -> click.Parameter:
    """A line of `--help` of an option that --set sets; nothing parses it."""
    line = TyperOption(
        param_decls=["--set"],
        type=click.STRING,
        metavar=_metavar(one) or "true|false",
        help=one.help,
        rich_help_panel=panel,
        default=one.shown_default,
        show_default=True,
    )
    line.opts = [f"--set {one.name}="]
    return line


def _metavar(one: Option) -> str | None:
    """What stands for its value in `--help`; None for a flag, which has none."""
    if one.kind is bool:
        return None
    word = {int: "INTEGER", float: "FLOAT", str: "TEXT"}[one.kind]
    if one.limits.choices:
        word = "|".join(map(str, one.limits.choices))
    if one.many and not one.repeated:
        word += ",..."
    return f"{word} [{one.range}]" if one.range else word


def _parameter(one: Option) -> Parameter:
    """The parameter of a command that an option is."""
    kind: Any = str if one.many and not one.repeated else _TYPES[one.kind]
    if one.repeated:
        kind = list[kind]
    shown: Any = None if one.many or one.default in (None, "") else one.default
    about: dict[str, Any] = {
        "help": one.help,
        "rich_help_panel": one.panel or None,
        "metavar": one.metavar or _metavar(one),
    }
    if one.flags[0].startswith("-"):
        declared = typer.Option(*one.flags, show_default=_shown_default(one), **about)
    else:
        declared = typer.Argument(show_default=False, **{**about, "metavar": one.flags[0]})
    given = kind if shown is not None else kind | None
    return Parameter(one.name, Parameter.KEYWORD_ONLY, default=shown, annotation=Annotated[given, declared])


def _shown_default(one: Option) -> bool | str:
    if one.many:
        return one.shown_default if one.default else False
    return one.default is not None and one.default != ""


def _value(one: Option, given: Any) -> Any:
    return one.default if given is None else tuple(given) if one.repeated else given
