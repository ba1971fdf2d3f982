"""What is wrong with data that somebody brings."""

from __future__ import annotations

from fedstill_proto.errors import FedstillError


class DataError(FedstillError):
    """Data cannot be used: the text names the file, the row or column, the value, and what to do."""
