"""The agent of a home as a command reaches it: the service that runs there, or the home itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from fedstill_client.agent.agent import Agent
from fedstill_client.home import AgentHome
from fedstill_client.service.client import AgentClient
from fedstill_client.service.endpoint import answers, check_private

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        help="An agent's home; without it, what FEDSTILL_HOME names, or /var/lib/fedstill.",
        show_default=False,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object for scripts, and nothing else.")
]
PrecisionOption = Annotated[
    str,
    typer.Option(help="Of the weights that answer: float32, or int8 where the installed package has them."),
]

Reached = Agent | AgentClient


@contextmanager
def reach(folder: Path | None) -> Iterator[Reached]:
    """The running service of a home, or its agent in this process where none runs."""
    home = AgentHome.given(folder)
    check_private(home)
    reached: Reached = AgentClient(home.folder) if answers(home.socket) else Agent.open(home.folder)
    with reached:
        yield reached
