"""Similarity preserving distillation (Tung and Mori 2019, arXiv 1907.09682)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from fedstill_server.distill.techniques.relations import RelationTechnique
from fedstill_server.losses import similarity_loss


class SimilarityPreserving(RelationTechnique):
    name: ClassVar[str] = "similarity"
    source: ClassVar[str] = "Tung and Mori 2019, arXiv 1907.09682"
    line: ClassVar[str] = "who is like whom in a batch"

    def between(self, student: Tensor, teacher: Tensor) -> Tensor:
        return similarity_loss(student, teacher)
