"""DIST (Huang et al. 2022, arXiv 2205.10536): keep the teacher's correlations."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from fedstill_server.config.options import option
from fedstill_server.distill.technique import Setting, Step, Technique, Term
from fedstill_server.losses import correlation_loss


class CorrelationDistillation(Technique):
    name: ClassVar[str] = "dist"
    source: ClassVar[str] = "Huang et al. 2022, arXiv 2205.10536"
    line: ClassVar[str] = "correlations between classes and within a class"

    between_weight: float = option(1.0, "Weight of the correlations between classes.", least=0)
    within_weight: float = option(1.0, "Weight of the correlations within a class.", least=0)

    def begin(self, setting: Setting) -> Term:
        return _Term(self)


class _Term(Term):
    def __init__(self, technique: CorrelationDistillation) -> None:
        super().__init__()
        self.technique = technique

    def loss(self, step: Step) -> Tensor:
        return correlation_loss(
            step.logits,
            step.taught,
            temperature=step.temperature,
            between_weight=self.technique.between_weight,
            within_weight=self.technique.within_weight,
        )
