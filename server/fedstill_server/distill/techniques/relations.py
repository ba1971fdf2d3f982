"""The base of techniques that compare the examples of a batch with each other, not layer with layer: any two
widths will do, and a batch of one example counts nothing.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from fedstill_server.distill.technique import FeatureTechnique, Setting, Step, Term


class RelationTechnique(FeatureTechnique):
    """The term is the mean of `between` over the pairs of layers."""

    least_batch: ClassVar[int] = 2

    @abstractmethod
    def between(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss of a batch's features [B, ...]."""

    def begin(self, setting: Setting) -> Term:
        return _Term(self, setting)


class _Term(Term):
    def __init__(self, technique: RelationTechnique, setting: Setting) -> None:
        super().__init__()
        self.technique, self.pairs = technique, setting.pairs

    def loss(self, step: Step) -> Tensor | None:
        if len(step.x) < self.technique.least_batch:
            return None
        losses = [
            self.technique.between(step.features[mine], step.teacher_features[theirs])
            for mine, theirs in self.pairs
        ]
        return torch.stack(losses).mean()
