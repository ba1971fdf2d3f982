"""Response distillation from the k likeliest classes and a tail that is drawn anew in each step: of sub-words
there are too many to keep, and a student of the likeliest alone learns that all others are impossible."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from fedstill_server.config.options import option
from fedstill_server.distill.technique import Setting, Step, Technique, Term
from fedstill_server.losses import drawn_tail_loss, drawn_tails
from fedstill_server.randomness import derived_seed


class DrawnTailDistillation(Technique):
    name: ClassVar[str] = "drawn-tails"
    source: ClassVar[str] = "Anshumann et al. 2025, arXiv 2503.16870"
    line: ClassVar[str] = "the k largest soft labels, and draws of all others, whose mean is the whole"

    k: int = option(16, "Soft labels that are kept as they are.", least=1)
    drawn: int = option(16, "Draws of the others, in each step.", least=0)

    def begin(self, setting: Setting) -> Term:
        return _Term(self, derived_seed(setting.plan.seed, 0, "drawn tails"))


class _Term(Term):
    def __init__(self, technique: DrawnTailDistillation, seed: int) -> None:
        super().__init__()
        self.technique, self.seed = technique, seed

    def loss(self, step: Step) -> Tensor:
        # A generator of the step's own: a training that is resumed draws the same.
        random = torch.Generator().manual_seed(derived_seed(self.seed, step.number, "draws"))
        soft = torch.softmax(step.taught / step.temperature, dim=-1)
        k, drawn = self.technique.k, self.technique.drawn
        indices, weights = drawn_tails(soft, k=k, drawn=drawn, random=random)
        return drawn_tail_loss(step.logits, indices, weights, temperature=step.temperature, mask=step.weights)
