"""The error of this room, which devices and server raise alike."""

from __future__ import annotations

from fedstill_proto.errors import FedstillError


class SumError(FedstillError):
    """A step of a sum cannot be made; the text reveals nothing of what is summed."""
