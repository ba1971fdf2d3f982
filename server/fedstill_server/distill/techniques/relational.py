"""Relational distillation (RKD, Park et al. 2019, arXiv 1904.05068): the geometry of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fedstill_server.distill.plan import check
from fedstill_server.distill.techniques.relations import RelationTechnique
from fedstill_server.losses import angle_loss, distance_loss


@dataclass(frozen=True, kw_only=True)
class RelationalDistillation(RelationTechnique):
    name: ClassVar[str] = "rkd"
    source: ClassVar[str] = "Park et al. 2019, arXiv 1904.05068"
    line: ClassVar[str] = "distances and angles between the examples of a batch"

    least_batch: ClassVar[int] = 3

    distance_weight: float = 1.0
    angle_weight: float = 2.0  # 1 to 2, as in the paper
    angle_examples: int = 20  # of a batch: the triples grow with their third power

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.angle_examples >= 3, "rkd.angle_examples", self.angle_examples, "3 or more")

    def between(self, student: Tensor, teacher: Tensor) -> Tensor:
        distance = self.distance_weight * distance_loss(student, teacher)
        few = self.angle_examples
        return distance + self.angle_weight * angle_loss(student[:few], teacher[:few])
