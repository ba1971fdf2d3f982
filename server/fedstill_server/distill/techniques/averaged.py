"""The exponential average of the student as its own teacher (mean teacher, Tarvainen and Valpola 2017, arXiv
1703.01780).

    a <- decay a + (1 - decay) student, after each step; the term is T^2 KL(a || student), growing with
    progress.
"""

from __future__ import annotations

import copy
from typing import ClassVar

import torch
from torch import Tensor, nn

from fedstill_server.config.options import option
from fedstill_server.distill.technique import Setting, Step, Technique, Term
from fedstill_server.losses import kd_loss


class AveragedTeacher(Technique):
    name: ClassVar[str] = "ema-teacher"
    source: ClassVar[str] = "Tarvainen and Valpola 2017, arXiv 1703.01780"
    line: ClassVar[str] = "the student's own running average teaches it"

    decay: float = option(0.99, "How much of the average a step leaves.", least=0, below=1)

    def begin(self, setting: Setting) -> Term:
        return _Term(setting.student, decay=self.decay)


class _Term(Term):
    def __init__(self, student: nn.Module, *, decay: float) -> None:
        super().__init__()
        self.average = copy.deepcopy(student).eval().requires_grad_(False)
        self.decay = decay

    def loss(self, step: Step) -> Tensor:
        with torch.no_grad():
            taught = self.average(step.x)
        own = kd_loss(step.logits, taught, temperature=step.temperature, mask=step.weights)
        return step.progress * own

    @torch.no_grad()
    def after_step(self, student: nn.Module) -> None:
        for mine, theirs in zip(self.average.parameters(), student.parameters(), strict=True):
            mine.lerp_(theirs, 1 - self.decay)
