"""fedstill-server init, prepare, invite, register, up: a real fleet over TLS."""

from __future__ import annotations

import typer


def register(cli: typer.Typer) -> None:
    """Add the commands to `cli`."""
