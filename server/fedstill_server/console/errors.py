"""What goes wrong in the console."""

from __future__ import annotations

from fedstill_proto.errors import FedstillError


class ConsoleError(FedstillError):
    """The console cannot start, or not do what it is asked; the text says why."""
