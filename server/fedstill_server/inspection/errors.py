"""What an inspection says where it cannot be made."""

from __future__ import annotations

from fedstill_proto.errors import FedstillError


class InspectionError(FedstillError):
    """A package, a graph or an option that cannot be inspected."""
