"""The error of a fleet's folder or its processes."""

from __future__ import annotations

from fedstill_proto.errors import FedstillError


class FleetError(FedstillError):
    """A fleet that cannot be set up, or does not come up."""
