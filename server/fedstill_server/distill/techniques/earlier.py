"""The student of an earlier epoch as its teacher (snapshot distillation, Yang et al. 2019, arXiv 1812.00123;
temporal ensembling, Laine and Aila 2017, arXiv 1610.02242).

The training is cut into `cycles` parts; in each but the first, the student as it ended the part before is a
teacher: T^2 KL(earlier || student).
"""

from __future__ import annotations

import copy
from typing import ClassVar

import torch
from torch import Tensor, nn

from fedstill_server.config.options import option
from fedstill_server.distill.technique import Setting, Step, Technique, Term
from fedstill_server.losses import kd_loss


class EarlierTeacher(Technique):
    name: ClassVar[str] = "earlier-teacher"
    source: ClassVar[str] = "Yang et al. 2019, arXiv 1812.00123"
    line: ClassVar[str] = "the student of an earlier epoch teaches the later one"

    cycles: int = option(3, "How often the student becomes the teacher.", least=2)

    def begin(self, setting: Setting) -> Term:
        return _Term(setting.student, cycles=self.cycles)


class _Term(Term):
    cycle: Tensor

    def __init__(self, student: nn.Module, *, cycles: int) -> None:
        super().__init__()
        self.earlier = copy.deepcopy(student).eval().requires_grad_(False)
        self.cycles = cycles
        self.register_buffer(
            "cycle", torch.zeros((), dtype=torch.int64)
        )  # that `earlier` comes from the end of

    def loss(self, step: Step) -> Tensor | None:
        if self.cycle == 0:
            return None
        with torch.no_grad():
            taught = self.earlier(step.x)
        return kd_loss(step.logits, taught, temperature=step.temperature, mask=step.weights)

    def after_epoch(self, student: nn.Module, *, progress: float) -> None:
        reached = int(progress * self.cycles + 1e-9)
        if reached > int(self.cycle):
            self.earlier.load_state_dict(student.state_dict())
            self.cycle.fill_(reached)
