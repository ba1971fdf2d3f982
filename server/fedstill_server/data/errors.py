"""Errors of data."""

from fedstill_proto.errors import FedstillError


class ExamplesError(FedstillError):
    """A file of examples is missing, or does not hold what it should."""
