from __future__ import annotations

from fedstill_proto.errors import FedstillError


class ReleaseError(FedstillError):
    """A release cannot be started, or cannot go on as it was asked to."""
