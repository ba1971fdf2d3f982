"""Relational distillation (RKD, Park et al. 2019, arXiv 1904.05068): the geometry of a batch."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from fedstill_server.config.options import option
from fedstill_server.distill.techniques.relations import RelationTechnique
from fedstill_server.losses import angle_loss, distance_loss


class RelationalDistillation(RelationTechnique):
    name: ClassVar[str] = "rkd"
    source: ClassVar[str] = "Park et al. 2019, arXiv 1904.05068"
    line: ClassVar[str] = "distances and angles between the examples of a batch"

    least_batch: ClassVar[int] = 3

    distance_weight: float = option(1.0, "Weight of the distances.", least=0)
    angle_weight: float = option(2.0, "Weight of the angles: 1 to 2, as in the paper.", least=0)
    angle_examples: int = option(
        20, "Examples of a batch between which angles are compared; their triples are many.", least=3
    )

    def between(self, student: Tensor, teacher: Tensor) -> Tensor:
        distance = self.distance_weight * distance_loss(student, teacher)
        few = self.angle_examples
        return distance + self.angle_weight * angle_loss(student[:few], teacher[:few])
