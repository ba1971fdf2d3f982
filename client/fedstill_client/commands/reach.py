"""The agent of a home as a command reaches it: the service that runs there, or the home itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fedstill_client.home import AgentHome
from fedstill_client.service.endpoint import check_private, is_listening

if TYPE_CHECKING:
    from fedstill_client.agent.agent import Agent
    from fedstill_client.service.client import AgentClient


@contextmanager
def reach(folder: Path | None) -> Iterator[Agent | AgentClient]:
    """The running service of a home, or its agent in this process where none runs.

    Only one of the two is loaded: the service needs no ONNX Runtime here, the agent no gRPC.
    """
    home = AgentHome.given(folder)
    check_private(home)
    reached: Agent | AgentClient
    if is_listening(home.socket):
        from fedstill_client.service.client import AgentClient

        reached = AgentClient(home.folder)
    else:
        from fedstill_client.agent.agent import Agent

        reached = Agent.open(home.folder)
    with reached:
        yield reached
