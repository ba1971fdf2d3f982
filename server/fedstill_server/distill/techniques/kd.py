"""Response distillation (Hinton et al. 2015, arXiv 1503.02531): learn the teacher's softened answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fedstill_server.distill.technique import Setting, Step, Technique, Term
from fedstill_server.losses import kd_loss


@dataclass(frozen=True, kw_only=True)
class KnowledgeDistillation(Technique):
    name: ClassVar[str] = "kd"
    source: ClassVar[str] = "Hinton et al. 2015, arXiv 1503.02531"
    line: ClassVar[str] = "the teacher's softened answers, T^2 KL"

    def begin(self, setting: Setting) -> Term:
        return _Term()


class _Term(Term):
    def loss(self, step: Step) -> Tensor:
        return kd_loss(step.logits, step.taught, temperature=step.temperature, mask=step.weights)
