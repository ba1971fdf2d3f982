"""Why a teacher cannot teach."""

from __future__ import annotations

from fedstill_proto.errors import FedstillError


class TeacherError(FedstillError):
    """A teacher does not answer as one does, or cannot be opened."""
