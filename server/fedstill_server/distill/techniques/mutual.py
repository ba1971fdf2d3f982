"""Deep mutual learning (Zhang et al. 2018, arXiv 1706.00384): students that are trained together teach each
other.

    student: its own loss + mean over peers T^2 KL(peer || student)         each peer likewise

The peers are of the student's family with other first weights, learn from the labels and the teacher as it
does, and are thrown away when the training ends.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from fedstill_server.config.options import option
from fedstill_server.distill.technique import Setting, Step, Technique, Term
from fedstill_server.families import build_student
from fedstill_server.losses import cross_entropy, kd_loss


class MutualLearning(Technique):
    name: ClassVar[str] = "mutual"
    source: ClassVar[str] = "Zhang et al. 2018, arXiv 1706.00384"
    line: ClassVar[str] = "peers that are trained along teach each other"

    peers: int = option(1, "Networks that are trained beside the student.", least=1, most=8)

    def begin(self, setting: Setting) -> Term:
        seeds = torch.randint(1 << 31, (self.peers,)).tolist()
        return _Term(
            build_student(setting.family, setting.input_shape, setting.classes, seed=seed) for seed in seeds
        )


class _Term(Term):
    def __init__(self, peers: object) -> None:
        super().__init__()
        self.peers = nn.ModuleList(peers)  # type: ignore[arg-type]

    def loss(self, step: Step) -> Tensor:
        self.answers = [peer(step.x) for peer in self.peers]
        group = [step.logits, *self.answers]
        total = step.logits.new_zeros(())
        for one, learner in enumerate(group):
            for other, friend in enumerate(group):
                if one != other:
                    total = total + self._kd(learner, friend.detach(), step) / (len(group) - 1)
        if step.teacher_logits is not None:
            for answer in self.answers:
                total = total + self._kd(answer, step.teacher_logits, step)
        return total

    def hard_loss(self, step: Step) -> Tensor:
        losses = [cross_entropy(answer, step.labels, mask=step.labelled) for answer in self.answers]
        return torch.stack(losses).sum()

    def _kd(self, student: Tensor, teacher: Tensor, step: Step) -> Tensor:
        return kd_loss(student, teacher, temperature=step.temperature, mask=step.weights)
