from __future__ import annotations

from fedstill_proto.errors import FedstillError


class OperationsError(FedstillError):
    """What is known of the fleet's devices cannot be read or written."""
