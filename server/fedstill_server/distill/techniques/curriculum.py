"""A curriculum by the teacher's entropy (Bengio et al. 2009, "Curriculum learning", ICML).

At the progress r of the training (0 to 1), the share min(1, start + (1 - start) r / ramp) of all examples
counts: those whose teacher's answers have the lowest entropy. Needs another technique, whose term it weighs.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn.functional import log_softmax

from fedstill_server.config.options import option
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.technique import Setting, Step, Technique, Term


class EntropyCurriculum(Technique):
    name: ClassVar[str] = "curriculum"
    source: ClassVar[str] = "Bengio et al. 2009, ICML, doi 10.1145/1553374.1553380"
    line: ClassVar[str] = "examples that the teacher finds easy come first"

    start: float = option(0.3, "Share of the examples that counts at first.", above=0, most=1)
    ramp: float = option(0.5, "Share of the training after which all count.", above=0, most=1)

    def begin(self, setting: Setting) -> Term:
        if setting.teacher_logits is None:
            raise DistillError("curriculum: needs the teacher's answers before the first step; not online")
        return _Term(self, setting.teacher_logits)


class _Term(Term):
    levels: Tensor

    def __init__(self, technique: EntropyCurriculum, logits: Tensor) -> None:
        super().__init__()
        self.technique = technique
        self.register_buffer("levels", entropy(logits).sort().values)  # [n]

    def example_weights(self, step: Step) -> Tensor:
        rule = self.technique
        share = min(1.0, rule.start + (1 - rule.start) * step.progress / rule.ramp)
        limit = self.levels[max(0, round(share * len(self.levels)) - 1)]
        return (entropy(step.taught) <= limit + 1e-6).to(step.logits.dtype)


def entropy(logits: Tensor) -> Tensor:
    """The entropy of softmax(logits) [...], in nats."""
    log_p = log_softmax(logits, dim=-1)
    return -(log_p.exp() * log_p).sum(dim=-1)
