"""Commands that bind a device to its fleet."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the fleet's commands to fedstill-agent."""
