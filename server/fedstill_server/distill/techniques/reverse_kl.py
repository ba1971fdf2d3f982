"""Reverse divergence on the rows there are: the student keeps to what the teacher says (MiniLLM's loss of one
word, Gu et al. 2024, arXiv 2306.08543, without its policy gradient).
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from fedstill_server.config.options import option
from fedstill_server.distill.technique import Setting, Step, Technique, Term
from fedstill_server.losses import reverse_kl_loss


class ReverseDivergence(Technique):
    name: ClassVar[str] = "reverse-kl"
    source: ClassVar[str] = "Gu et al. 2024, arXiv 2306.08543"
    line: ClassVar[str] = "the student's own divergence from the teacher: it keeps to what the teacher says"

    temperature: float = option(1.0, "How far both sides are softened.", above=0)

    def begin(self, setting: Setting) -> Term:
        return _Term(self.temperature)


class _Term(Term):
    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def loss(self, step: Step) -> Tensor:
        return reverse_kl_loss(step.logits, step.taught, temperature=self.temperature, mask=step.weights)
