"""Probabilistic knowledge transfer (PKT, Passalis and Tefas 2018, arXiv 1803.10837)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from fedstill_server.distill.techniques.relations import RelationTechnique
from fedstill_server.losses import probabilistic_transfer_loss


class ProbabilisticTransfer(RelationTechnique):
    name: ClassVar[str] = "pkt"
    source: ClassVar[str] = "Passalis and Tefas 2018, arXiv 1803.10837"
    line: ClassVar[str] = "the distribution of neighbours in a batch"

    def between(self, student: Tensor, teacher: Tensor) -> Tensor:
        return probabilistic_transfer_loss(student, teacher)
