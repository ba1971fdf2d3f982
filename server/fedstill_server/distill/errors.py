"""Why a distillation cannot be done."""

from __future__ import annotations

from fedstill_proto.errors import FedstillError


class DistillError(FedstillError):
    """A distillation cannot be done as it was asked for."""


class StaleAnswers(DistillError):
    """Kept answers are not those of this teacher."""
