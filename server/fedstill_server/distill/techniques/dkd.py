"""Decoupled distillation (Zhao et al. 2022, arXiv 2203.08679).

The published loss takes the label as its target. Where an example has none, the teacher's first choice stands
in: on unlabelled public data that is all there is.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from fedstill_server.config.options import option
from fedstill_server.distill.technique import Setting, Step, Technique, Term
from fedstill_server.losses import decoupled_kd_loss


class DecoupledDistillation(Technique):
    name: ClassVar[str] = "dkd"
    source: ClassVar[str] = "Zhao et al. 2022, arXiv 2203.08679"
    line: ClassVar[str] = "target and other classes weighed apart"

    target_weight: float = option(1.0, "Weight of the true class against all others.", least=0)
    other_weight: float = option(2.0, "Weight of the classes that are not the true one.", least=0)

    def begin(self, setting: Setting) -> Term:
        return _Term(self)


class _Term(Term):
    def __init__(self, technique: DecoupledDistillation) -> None:
        super().__init__()
        self.technique = technique

    def loss(self, step: Step) -> Tensor:
        targets = step.labels.where(step.labelled, step.taught.argmax(dim=-1))
        return decoupled_kd_loss(
            step.logits,
            step.taught,
            targets,
            temperature=step.temperature,
            target_weight=self.technique.target_weight,
            other_weight=self.technique.other_weight,
            mask=step.weights,
        )
