"""Response distillation (Hinton et al. 2015, arXiv 1503.02531): learn the teacher's softened answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fedstill_server.distill.technique import Setting, Step, Technique, Term
from fedstill_server.losses import kd_loss


@dataclass(frozen=True, kw_only=True)
class KnowledgeDistillation(Technique):
    name: ClassVar[str] = "kd"
    source: ClassVar[str] = "Hinton et al. 2015, arXiv 1503.02531"
    line: ClassVar[str] = "the teacher's softened answers, T^2 KL"

    def begin(self, setting: Setting) -> Term:
        if setting.teacher_logits is None:
            return _Asking()
        return _Knowing(setting.teacher_logits, temperature=setting.plan.temperature)


class _Asking(Term):
    """Where the teacher's answers come with each batch."""

    def loss(self, step: Step) -> Tensor:
        return kd_loss(step.logits, step.taught, temperature=step.temperature, mask=step.weights)


class _Knowing(Term):
    """Where all answers are known before the first step: they are softened once.

    T^2 KL(p || q) = T^2 (cross-entropy of q under p - entropy of p), of which only the first has to be
    computed in a step; the same loss as kd_loss.
    """

    def __init__(self, logits: Tensor, *, temperature: float) -> None:
        super().__init__()
        # No buffers: a checkpoint need not hold what the teacher's answers give again.
        log_p = torch.log_softmax(logits / temperature, dim=-1)
        self.soft = log_p.exp()
        self.entropy = -(self.soft * log_p).sum(dim=-1)

    def loss(self, step: Step) -> Tensor:
        if step.weights is not None or step.rows is None:
            return kd_loss(step.logits, step.taught, temperature=step.temperature, mask=step.weights)
        scaled = step.logits / step.temperature
        cross = torch.nn.functional.cross_entropy(scaled, self.soft[step.rows])
        return step.temperature**2 * (cross - self.entropy[step.rows].mean())
