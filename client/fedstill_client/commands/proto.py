"""fedstill-agent proto: the contract of the agent's service, for apps in other languages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import fedstill_proto
import typer

from fedstill_client.commands.options import AgentCommand

PROTO_FOLDER = Path(fedstill_proto.__file__).parents[1]
"""What protoc's -I is given."""
CONTRACT = "fedstill_proto/v1/agent.proto"


def register(app: typer.Typer) -> None:
    """Add the command to fedstill-agent."""
    app.command(name="proto", cls=AgentCommand)(proto_command)


def proto_command(
    folder: Annotated[
        bool, typer.Option("--folder", help=f"Print the folder that {CONTRACT} is in, for protoc -I.")
    ] = False,
) -> None:
    """Print the contract of the agent's service, agent.proto, for apps in other languages than Python.

    [bold]Examples[/bold]

      protoc -I $(fedstill-agent proto --folder) --cpp_out=. fedstill_proto/v1/agent.proto
    """
    if folder:
        print(PROTO_FOLDER)
    else:
        print((PROTO_FOLDER / CONTRACT).read_text(encoding="utf-8"), end="")
