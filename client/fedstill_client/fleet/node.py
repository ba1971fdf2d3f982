"""The Flower node that a device is: the home's file `node`, written when the server lets the device in."""

from __future__ import annotations

from fedstill_proto.system.files import replace_file

from fedstill_client.home import AgentHome


def write_node(home: AgentHome, node: int) -> None:
    """Keep the node's number, if it is news."""
    if read_node(home) != node:
        replace_file(home.node, f"{node}\n".encode())


def read_node(home: AgentHome) -> int | None:
    """The node's number; None before it was let in first."""
    try:
        return int(home.node.read_text())
    except (OSError, ValueError):
        return None
