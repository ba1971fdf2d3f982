"""fedstill-server publish: sign student packages, and look after the keys that sign them."""

from __future__ import annotations

import typer


def register(cli: typer.Typer) -> None:
    """Add the commands to `cli`."""
