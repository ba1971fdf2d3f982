"""fedstill-ibus: the keyboard of an agent, in the desktop."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from fedstill_proto import __version__
from fedstill_proto.errors import FedstillError
from fedstill_proto.system.extras import explain_missing
from typer.core import TyperCommand

from fedstill_client.commands.options import AgentGroup, HomeOption, unwrapped
from fedstill_client.home import AgentHome
from fedstill_client.ibus.bindings import load_bindings
from fedstill_client.ibus.component import ENGINE, ComponentPlace
from fedstill_client.ibus.composition import CompositionSettings

SuggestionsOption = Annotated[int, typer.Option("-k", min=1, max=9, help="How many suggestions are shown.")]
AutocorrectOption = Annotated[
    bool, typer.Option("--autocorrect", help="The space takes a correction that stands first.")
]
NextWordsOption = Annotated[
    bool,
    typer.Option(
        "--next-words/--no-next-words", help="Suggest words before their first letter is typed, too."
    ),
]
SystemOption = Annotated[
    bool, typer.Option("--system", help="For all users, in /usr/share/ibus/component; as root.")
]


class _Command(TyperCommand):
    """A command whose help fits the terminal's width."""

    def __init__(self, name: str | None, **settings: Any) -> None:
        settings["help"] = unwrapped(settings.get("help") or "")
        super().__init__(name, **settings)


app = typer.Typer(
    cls=AgentGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="The keyboard of a device's agent as an input method of IBus: what you type in any app of the "
    "desktop is completed and corrected by the student on this device, and teaches it; nothing leaves the "
    "device.\n\n"
    "It needs Debian's ibus, gir1.2-ibus-1.0 and python3-gi, and a running agent of a keyboard "
    "(fedstill-agent serve).\n\n"
    "[bold]Keys[/bold]: Tab takes the first suggestion, F1 to F9 and the mouse any, 1 to 9 too once a letter "
    "is typed, and the arrows go along them; the space keeps what you typed. Backspace right after a "
    "suggestion brings back what you had typed; Escape hides the suggestions for the word. A sentence is "
    "learned when it ends: at its mark, at Enter, or when you leave the field. In fields of passwords, PINs, "
    "numbers and addresses, in private ones and in terminals, every key passes, and nothing is learned.",
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"fedstill-ibus {__version__}")
        raise typer.Exit


@app.callback()
def fedstill_ibus(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


@app.command(name="install", cls=_Command)
def install_command(
    home: HomeOption = None,
    k: SuggestionsOption = 5,
    autocorrect: AutocorrectOption = False,
    next_words: NextWordsOption = True,
    system: SystemOption = False,
) -> None:
    """Tell IBus of the keyboard; given again, with other options, it replaces what was told.

    For this user: a component file, and a line for the desktop's environment that has IBus look there.

    [bold]Examples[/bold]

      fedstill-ibus install --home ~/.fedstill

      fedstill-ibus install --autocorrect -k 3

      sudo fedstill-ibus install --system --home /var/lib/fedstill
    """
    load_bindings("IBus")
    place, folder = ComponentPlace.chosen(system=system), AgentHome.given(home).folder.absolute()
    place.write(_arguments(folder, k, autocorrect=autocorrect, next_words=next_words))
    typer.echo(f"written: {place.component}")
    if place.environment is None:
        typer.echo("Then, in the desktop: ibus restart")
    else:
        typer.echo(
            f"written: {place.environment}\n"
            f"Log out and in, or, for this session alone: IBUS_COMPONENT_PATH={place.component.parent}:"
            "/usr/share/ibus/component ibus-daemon --replace --daemonize --xim"
        )
    typer.echo(f"Then choose it: ibus engine {ENGINE} (or add it in ibus-setup, under Other).")
    if not AgentHome.is_at(folder):
        typer.echo(f"note: {folder} is no agent's home yet; make one with: fedstill-agent enrol", err=True)


@app.command(name="uninstall", cls=_Command)
def uninstall_command(system: SystemOption = False) -> None:
    """Take back what install told IBus. The agent and what it has learned stay.

    [bold]Examples[/bold]

      fedstill-ibus uninstall
    """
    removed = ComponentPlace.chosen(system=system).remove()
    for file in removed:
        typer.echo(f"removed: {file}")
    typer.echo("Then, in the desktop: ibus restart" if removed else "There was nothing to remove.")


@app.command(name="run", cls=_Command)
def run_command(
    home: HomeOption = None,
    k: SuggestionsOption = 5,
    autocorrect: AutocorrectOption = False,
    next_words: NextWordsOption = True,
    by_ibus: Annotated[bool, typer.Option("--ibus", hidden=True)] = False,
) -> None:
    """Run the keyboard in this session, without an installation, until Ctrl-C.

    IBus runs it by itself once it is installed.

    [bold]Examples[/bold]

      fedstill-ibus run --home ~/.fedstill & ibus engine fedstill
    """
    from fedstill_client.ibus.engine import EngineOptions, run_engine

    typing = CompositionSettings(autocorrect=autocorrect, next_words=next_words)
    run_engine(EngineOptions(home, k, typing, by_ibus))


def _arguments(home: Path, k: int, *, autocorrect: bool, next_words: bool) -> list[str]:
    chosen = ["--autocorrect"] if autocorrect else []
    return ["--home", str(home), "-k", str(k), *chosen, *([] if next_words else ["--no-next-words"])]


def main() -> None:
    """Run the command line; what fedstill refuses is one line on stderr and exit code 2."""
    try:
        with explain_missing("fedstill-ibus"):
            app()
    except FedstillError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
