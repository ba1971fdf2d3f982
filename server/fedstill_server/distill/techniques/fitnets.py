"""FitNets hints (Romero et al. 2015, arXiv 1412.6550), with adapters that exist in training only.

A linear layer, or a 1x1 convolution between maps, brings each student layer to the width of its teacher
layer. The paper trains hints first and answers after; here the hint's weight falls to 0 along half a cosine,
which is the same order without a seam (`falling = false` keeps it).

layers: `uniform`, `last`, explicit pairs, or `learned`: each student layer imitates a mixture of all teacher
layers whose weights are trained along (after Chen et al. 2021, arXiv 2012.03236).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from fedstill_server.config.options import option
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.layers import uniform_map
from fedstill_server.distill.technique import FeatureTechnique, Setting, Step, Term
from fedstill_server.losses import hint_loss


class FitNets(FeatureTechnique):
    name: ClassVar[str] = "fitnets"
    source: ClassVar[str] = "Romero et al. 2015, arXiv 1412.6550"
    line: ClassVar[str] = "hidden layers imitate the teacher's through train-only adapters"

    layers: str = "uniform"
    falling: bool = option(True, "Whether the hints fade as the training goes on.")

    def pairs(self, student: Sequence[str], teacher: Sequence[str]) -> tuple[tuple[str, str], ...]:
        if self.layers != "learned":
            return super().pairs(student, teacher)
        if not uniform_map(student, teacher):
            raise DistillError("fitnets.layers: learned needs inner layers in the student and the teacher")
        return tuple((mine, theirs) for mine in student for theirs in teacher)

    def begin(self, setting: Setting) -> Term:
        return _Term(setting, learned=self.layers == "learned", falling=self.falling)


class _Term(Term):
    scales: Tensor

    def __init__(self, setting: Setting, *, learned: bool, falling: bool) -> None:
        super().__init__()
        self.pairs, self.learned, self.falling = setting.pairs, learned, falling
        self.adapters = nn.ModuleList(
            adapter_between(setting.student_features[mine], setting.teacher_features[theirs])
            for mine, theirs in self.pairs
        )
        # Scaled by the size of the teacher's features, so that one weight suits all teachers.
        self.register_buffer(
            "scales", torch.stack([_mean_square(setting, theirs) for _, theirs in self.pairs])
        )
        if learned:
            self.preferences = nn.Parameter(torch.zeros(len(self.pairs)))

    def loss(self, step: Step) -> Tensor:
        losses = torch.stack(
            [
                hint_loss(*alike(adapter(step.features[mine]), step.teacher_features[theirs]))
                for adapter, (mine, theirs) in zip(self.adapters, self.pairs, strict=True)
            ]
        )
        losses = losses / self.scales.clamp(min=1e-6)
        amount = 0.5 * (1 + math.cos(math.pi * step.progress)) if self.falling else 1.0
        return amount * (losses * self._shares()).sum()

    def _shares(self) -> Tensor:
        """What each pair counts: the same for all, or learned, adding up to 1 for each student layer."""
        students = list(dict.fromkeys(mine for mine, _ in self.pairs))
        if not self.learned:
            return torch.full((len(self.pairs),), 1 / len(self.pairs))
        by_student = self.preferences.reshape(len(students), -1)
        return torch.softmax(by_student, dim=-1).flatten() / len(students)


def _mean_square(setting: Setting, layer: str) -> Tensor:
    return setting.teacher_features[layer].square().mean()


def adapter_between(student: Tensor, teacher: Tensor) -> nn.Module:
    """A linear layer for features [n, width], a 1x1 convolution for maps [n, channels, h, w]."""
    if student.dim() == teacher.dim() == 4:
        return nn.Conv2d(student.shape[1], teacher.shape[1], 1)
    if student.dim() == teacher.dim() == 3:
        return nn.Linear(student.shape[-1], teacher.shape[-1])
    return nn.Sequential(
        nn.Flatten(1), nn.Linear(student[0].numel(), teacher[0].numel()), nn.Unflatten(1, teacher.shape[1:])
    )


def alike(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Maps of two sizes, the larger pooled to the smaller one's."""
    if student.dim() != 4 or student.shape[2:] == teacher.shape[2:]:
        return student, teacher
    size = (min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3]))
    return adaptive_avg_pool2d(student, size), adaptive_avg_pool2d(teacher, size)
