"""What a sweep says where it cannot be made."""

from __future__ import annotations

from fedstill_proto.errors import FedstillError


class SweepError(FedstillError):
    """Widths, depths or a folder that a sweep cannot be made of."""
