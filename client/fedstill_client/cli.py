"""fedstill-agent: a device's commands, for people and for scripts (--json).

What a command needs is loaded when it runs: --help and a wrong name are answered without numpy, ONNX Runtime
and gRPC.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from fedstill_proto import __version__
from fedstill_proto.errors import FedstillError
from fedstill_proto.system.extras import explain_missing

from fedstill_client.commands import (
    agent,
    assistant,
    doctor,
    fleet,
    generate,
    keyboard,
    memory,
    names,
    personalize,
    policy,
    predict,
    privacy,
    proto,
    words,
)
from fedstill_client.commands.options import AgentGroup, print_version

app = typer.Typer(
    cls=AgentGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A device of a fedstill fleet: it holds a small student, personalizes it on data that never leaves "
    "it, and answers from it. No torch, only ONNX Runtime.\n\n"
    "An [bold]agent's home[/bold] (--home, FEDSTILL_HOME or /var/lib/fedstill) is made by enrolling the "
    "device in a fleet: it holds the installed student package, the private store, and the socket at which "
    "apps ask.\n\n"
    "A [bold]plain device folder[/bold] (--device) holds device.json, artifact/, private.npz, and maybe "
    "public.npz and global_test.npz; what the device learns is kept in its state/. "
    "A [bold]student folder[/bold] (--student) is a student package as the server exports it.",
)


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if show:
        typer.echo(f"fedstill-agent {__version__}")
        raise typer.Exit


_COMMANDS = (
    predict,
    personalize,
    agent,
    keyboard,
    generate,
    words,
    memory,
    assistant,
    names,
    policy,
    privacy,
    fleet,
    doctor,
    proto,
)
for group in _COMMANDS:
    group.register(app)


@app.callback()
def fedstill_agent(
    version: Annotated[
        bool,
        typer.Option("--version", callback=print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def main() -> None:
    """Run the command line; what fedstill refuses is one line on stderr and exit code 2."""
    try:
        with explain_missing("fedstill-agent"):
            app()
    except FedstillError as error:
        from rich.console import Console

        Console(stderr=True, soft_wrap=True).print(
            f"error: {error}", style="red", markup=False, highlight=False
        )
        sys.exit(2)


if __name__ == "__main__":
    main()
