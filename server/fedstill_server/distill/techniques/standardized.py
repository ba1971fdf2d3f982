"""Logit standardization (Sun et al. 2024, arXiv 2403.01427): the teacher's shape, not its size.

The published code multiplies the term by 9 beside a weight of 0.1 of the labels; `weight` does that here.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from fedstill_server.config.options import option
from fedstill_server.distill.technique import Setting, Step, Technique, Term
from fedstill_server.losses import standardized_kd_loss


class StandardizedDistillation(Technique):
    name: ClassVar[str] = "standardized"
    source: ClassVar[str] = "Sun et al. 2024, arXiv 2403.01427"
    line: ClassVar[str] = "softened answers after logits are made mean 0, deviation 1"

    temperature: float = option(2.0, "The temperature of standardized logits, whose range is small.", above=0)

    def begin(self, setting: Setting) -> Term:
        return _Term(self.temperature)


class _Term(Term):
    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def loss(self, step: Step) -> Tensor:
        return standardized_kd_loss(step.logits, step.taught, temperature=self.temperature, mask=step.weights)
