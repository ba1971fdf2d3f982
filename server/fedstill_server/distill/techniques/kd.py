"""Response distillation (Hinton et al. 2015, arXiv 1503.02531): learn the teacher's softened answers."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from fedstill_server.distill.technique import Setting, Step, Technique, Term
from fedstill_server.losses import kd_loss


class KnowledgeDistillation(Technique):
    name: ClassVar[str] = "kd"
    source: ClassVar[str] = "Hinton et al. 2015, arXiv 1503.02531"
    line: ClassVar[str] = "the teacher's softened answers, T^2 KL"

    def begin(self, setting: Setting) -> Term:
        return _Term(setting)


class _Term(Term):
    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.answers, self.temperature = setting.teacher_logits, setting.plan.temperature

    def soft_labels(self) -> Tensor | None:
        return None if self.answers is None else torch.softmax(self.answers / self.temperature, dim=-1)

    def loss(self, step: Step) -> Tensor:
        return kd_loss(step.logits, step.taught, temperature=step.temperature, mask=step.weights)
