"""The error of an export that cannot be made as asked, or is not what it must be."""

from __future__ import annotations

from fedstill_proto.errors import FedstillError


class ExportError(FedstillError):
    """A graph cannot be built as asked."""


class GateError(ExportError):
    """A graph was built and must not ship: it is not as its manifest says, or computes something else."""
