"""Contrastive distillation (CRD, Tian et al. 2020, arXiv 1910.10699), with the batch as its negatives.

Linear heads bring student and teacher to one width; they exist in training only.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from fedstill_server.config.options import option
from fedstill_server.distill.technique import FeatureTechnique, Setting, Step, Term
from fedstill_server.losses import contrastive_loss


class ContrastiveDistillation(FeatureTechnique):
    name: ClassVar[str] = "crd"
    source: ClassVar[str] = "Tian et al. 2020, arXiv 1910.10699"
    line: ClassVar[str] = "tells the teacher's view of an example from its views of all others"

    width: int = option(32, "The width of the space in which views are compared.", least=1)
    tau: float = option(0.1, "Temperature of the comparison.", above=0)

    def begin(self, setting: Setting) -> Term:
        return _Term(self, setting)


class _Term(Term):
    def __init__(self, technique: ContrastiveDistillation, setting: Setting) -> None:
        super().__init__()
        self.tau, self.pairs = technique.tau, setting.pairs
        self.mine, self.theirs = (
            nn.ModuleList(
                nn.Linear(features[pair[side]][0].numel(), technique.width) for pair in setting.pairs
            )
            for side, features in enumerate((setting.student_features, setting.teacher_features))
        )

    def loss(self, step: Step) -> Tensor | None:
        if len(step.x) < 2:
            return None
        losses = [
            contrastive_loss(
                mine(step.features[pair[0]].flatten(1)),
                theirs(step.teacher_features[pair[1]].flatten(1)),
                tau=self.tau,
            )
            for mine, theirs, pair in zip(self.mine, self.theirs, self.pairs, strict=True)
        ]
        return torch.stack(losses).mean()
