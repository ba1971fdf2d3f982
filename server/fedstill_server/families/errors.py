"""What a family refuses."""

from fedstill_proto.errors import FedstillError


class FamilyError(FedstillError):
    """A family is unknown, or cannot be built for an input shape."""
