"""A technique of distillation: the squared distance of logits (Ba and Caruana 2014, arXiv 1312.6184).

    L = mean over examples and classes of (z - z')^2    z, z': logits of student and teacher, less their mean

Logits are compared as they are, and not the soft labels that a softmax makes of them: what a teacher says of
unlikely classes counts as much as the rest. A `margin` lets a student of few weights be a little off.
"""

from __future__ import annotations

from fedstill_server.config.options import option
from fedstill_server.distill.technique import Setting, Step, Technique, Term
from torch import Tensor


class LogitDistance(Technique):
    """It describes the technique; `begin` makes what works in one training."""

    name = "logit-distance"
    source = "Ba and Caruana 2014, arXiv 1312.6184"
    line = "the teacher's logits, squared distance"

    margin: float = option(0.0, "A squared distance below it is none.", least=0)

    def begin(self, setting: Setting) -> Term:
        return _Distance(self.margin)


class _Distance(Term):
    """A torch module: had it parameters, they would learn along, and be no part of the student."""

    def __init__(self, margin: float) -> None:
        super().__init__()
        self.margin = margin

    def loss(self, step: Step) -> Tensor:
        mine, theirs = (z - z.mean(dim=-1, keepdim=True) for z in (step.logits, step.taught))
        distances = (mine - theirs).square().mean(dim=-1)  # [batch]
        if step.weights is not None:  # of other techniques, such as a curriculum
            distances = distances * step.weights
        return (distances - self.margin).relu().mean()
