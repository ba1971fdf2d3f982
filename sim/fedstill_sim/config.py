"""What a run is asked to do: the fleet's part belongs to the server, the simulation's part is here.

Both are written to <run>/config.json before anything starts, and a resumed run reads nothing else.
"""

from __future__ import annotations

from typing import Any


def command_line(config: dict[str, Any]) -> str:
    return "fedstill-sim run ..."


def described(config: dict[str, Any]) -> list[tuple[str, str]]:
    return []
