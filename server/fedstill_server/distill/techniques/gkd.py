"""Generalized knowledge distillation (Agarwal et al. 2024, arXiv 2306.13649): the student is taught on what
it writes itself.

    share of the batches: rows drawn from the student        the others: real rows
    beta KL(p || m) + (1 - beta) KL(q || m)    m = beta p + (1 - beta) q

p being the teacher and q the student; a beta of 0 stands for KL(p || q), and of 1 for KL(q || p). The paper
begins with a student that learned its labels before, which is what `warm_up` is for, and may add a reward,
which is left out.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from fedstill_server.config.options import option
from fedstill_server.distill.on_policy.own_rows import OnPolicyTechnique, OnPolicyTerm, OwnRows
from fedstill_server.distill.technique import Setting, Step, Term
from fedstill_server.losses import jensen_shannon_loss


class GeneralizedDistillation(OnPolicyTechnique):
    name: ClassVar[str] = "gkd"
    source: ClassVar[str] = "Agarwal et al. 2024, arXiv 2306.13649"
    line: ClassVar[str] = "of text: what the teacher says of rows that the student writes, generalized JSD"

    beta: float = option(0.5, "0: KL of the teacher from the student; 1: the reverse.", least=0, most=1)
    temperature: float = option(1.0, "How far both sides are softened.", above=0)

    def begin(self, setting: Setting) -> Term:
        return _Term(self, setting)


class _Term(OnPolicyTerm):
    technique: GeneralizedDistillation

    def on_real_rows(self, step: Step) -> Tensor:
        return self._loss(step.logits, step.taught, step.weights)

    def on_own_rows(self, logits: Tensor, taught: Tensor, rows: OwnRows) -> Tensor:
        return self._loss(logits, taught, rows.written)

    def _loss(self, logits: Tensor, taught: Tensor, mask: Tensor | None) -> Tensor:
        beta, temperature = self.technique.beta, self.technique.temperature
        return jensen_shannon_loss(logits, taught, beta=beta, temperature=temperature, mask=mask)
