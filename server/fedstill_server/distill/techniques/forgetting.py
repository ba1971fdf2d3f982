"""Learning without forgetting (LwF, Li and Hoiem 2016, arXiv 1606.09282).

For new data, often of new classes, with the old student as the teacher: the term keeps the student's answers
about the old classes, T^2 KL over the first logits, as many as the teacher has. As in the paper, the labels
of new classes reach the new logits only, so that they don't push the old ones down. Start from the old
student (`expanded` makes room for the new classes).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from fedstill_proto.arrays import Parameters
from torch import Tensor

from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.technique import Setting, Step, Technique, Term
from fedstill_server.losses import kd_loss

_OUT_OF_THE_RACE = -1e4  # a logit whose class cannot be; minus infinity has no gradient


class LearningWithoutForgetting(Technique):
    name: ClassVar[str] = "lwf"
    source: ClassVar[str] = "Li and Hoiem 2016, arXiv 1606.09282"
    line: ClassVar[str] = "new classes are learned while the old student's answers are kept"

    def begin(self, setting: Setting) -> Term:
        if not 0 < setting.teacher_classes <= setting.classes:
            raise DistillError(
                f"lwf: the old student knows {setting.teacher_classes} classes, the new one {setting.classes}"
            )
        return _Term()


class _Term(Term):
    def label_logits(self, logits: Tensor, step: Step) -> Tensor:
        old = step.taught.shape[-1]
        among_new = (step.labels >= old).unsqueeze(-1) & (torch.arange(logits.shape[-1]) < old)
        return logits.masked_fill(among_new, _OUT_OF_THE_RACE)

    def loss(self, step: Step) -> Tensor:
        old = step.taught.shape[-1]
        return kd_loss(step.logits[:, :old], step.taught, temperature=step.temperature, mask=step.weights)


def expanded(old: Parameters, new: Parameters) -> Parameters:
    """`new` (freshly initialized for more classes) with the old student's weights where both have them.

    Arrays whose first dimension grew, those of the last layer, keep the old rows first.
    """
    if old.keys() != new.keys():
        raise DistillError("expanded: the students are not of one family")
    grown = {}
    for name, fresh in new.items():
        kept = old[name]
        if kept.shape[1:] != fresh.shape[1:] or len(kept) > len(fresh):
            raise DistillError(
                f"expanded: {name} was {list(kept.shape)} and cannot become {list(fresh.shape)}"
            )
        grown[name] = np.concatenate([kept, fresh[len(kept) :]])
    return grown
