"""Probabilistic knowledge transfer (PKT, Passalis and Tefas 2018, arXiv 1803.10837)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fedstill_server.distill.technique import FeatureTechnique, Setting, Step, Term
from fedstill_server.losses import probabilistic_transfer_loss

_LEAST_BATCH = 2


@dataclass(frozen=True, kw_only=True)
class ProbabilisticTransfer(FeatureTechnique):
    name: ClassVar[str] = "pkt"
    source: ClassVar[str] = "Passalis and Tefas 2018, arXiv 1803.10837"
    line: ClassVar[str] = "the distribution of neighbours in a batch"

    def begin(self, setting: Setting) -> Term:
        return _Term(self, setting)


class _Term(Term):
    def __init__(self, technique: ProbabilisticTransfer, setting: Setting) -> None:
        super().__init__()
        self.technique, self.pairs = technique, setting.pairs

    def loss(self, step: Step) -> Tensor | None:
        if len(step.x) < _LEAST_BATCH:
            return None
        return torch.stack(
            [self._between(step.features[mine], step.teacher_features[theirs]) for mine, theirs in self.pairs]
        ).mean()

    def _between(self, student: Tensor, teacher: Tensor) -> Tensor:
        return probabilistic_transfer_loss(student, teacher)
