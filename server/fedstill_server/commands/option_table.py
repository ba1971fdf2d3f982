"""The options of a method or technique, as commands list them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from fedstill_server.config.options import Option


def option_table(options: Sequence[Option]) -> Table:
    """For people: each option with its default, what it may be, and help."""
    table = Table(box=None, pad_edge=False)
    for heading in ("option", "default", "what it may be", "what it is"):
        table.add_column(heading)
    for one in options:
        table.add_row(one.name, one.shown_default, one.what, one.help)
    return table


def option_document(options: Sequence[Option]) -> dict[str, Any]:
    """For machines: the same by name."""
    return {one.name: {"default": one.default, "what": one.what, "help": one.help} for one in options}
