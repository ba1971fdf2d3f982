"""Similarity preserving distillation (Tung and Mori 2019, arXiv 1907.09682)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fedstill_server.distill.technique import FeatureTechnique, Setting, Step, Term
from fedstill_server.losses import similarity_loss

_LEAST_BATCH = 2


@dataclass(frozen=True, kw_only=True)
class SimilarityPreserving(FeatureTechnique):
    name: ClassVar[str] = "similarity"
    source: ClassVar[str] = "Tung and Mori 2019, arXiv 1907.09682"
    line: ClassVar[str] = "who is like whom in a batch"

    def begin(self, setting: Setting) -> Term:
        return _Term(self, setting)


class _Term(Term):
    def __init__(self, technique: SimilarityPreserving, setting: Setting) -> None:
        super().__init__()
        self.technique, self.pairs = technique, setting.pairs

    def loss(self, step: Step) -> Tensor | None:
        if len(step.x) < _LEAST_BATCH:
            return None
        return torch.stack(
            [self._between(step.features[mine], step.teacher_features[theirs]) for mine, theirs in self.pairs]
        ).mean()

    def _between(self, student: Tensor, teacher: Tensor) -> Tensor:
        return similarity_loss(student, teacher)
