"""What can go wrong while packages are signed and published."""

from __future__ import annotations

from fedstill_proto.errors import FedstillError


class PublishError(FedstillError):
    """A package, key or repository that cannot be published, signed with, or written to."""
