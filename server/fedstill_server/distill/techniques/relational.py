"""Relational distillation (RKD, Park et al. 2019, arXiv 1904.05068): the geometry of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fedstill_server.distill.plan import check
from fedstill_server.distill.technique import FeatureTechnique, Setting, Step, Term
from fedstill_server.losses import angle_loss, distance_loss

_LEAST_BATCH = 3


@dataclass(frozen=True, kw_only=True)
class RelationalDistillation(FeatureTechnique):
    name: ClassVar[str] = "rkd"
    source: ClassVar[str] = "Park et al. 2019, arXiv 1904.05068"
    line: ClassVar[str] = "distances and angles between the examples of a batch"

    distance_weight: float = 1.0
    angle_weight: float = 2.0  # 1 to 2, as in the paper
    angle_examples: int = 20  # of a batch: the triples grow with their third power

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.angle_examples >= 3, "rkd.angle_examples", self.angle_examples, "3 or more")

    def begin(self, setting: Setting) -> Term:
        return _Term(self, setting)


class _Term(Term):
    def __init__(self, technique: RelationalDistillation, setting: Setting) -> None:
        super().__init__()
        self.technique, self.pairs = technique, setting.pairs

    def loss(self, step: Step) -> Tensor | None:
        if len(step.x) < _LEAST_BATCH:
            return None
        return torch.stack(
            [self._between(step.features[mine], step.teacher_features[theirs]) for mine, theirs in self.pairs]
        ).mean()

    def _between(self, student: Tensor, teacher: Tensor) -> Tensor:
        distance = self.technique.distance_weight * distance_loss(student, teacher)
        few = self.technique.angle_examples
        return distance + self.technique.angle_weight * angle_loss(student[:few], teacher[:few])
