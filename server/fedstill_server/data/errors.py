"""Errors of data."""

from fedstill_proto.errors import FedstillError


class DataError(FedstillError):
    """A file of examples is missing, or does not hold what it should."""
