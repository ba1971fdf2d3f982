"""MiniLLM (Gu et al. 2024, arXiv 2306.08543): the reverse divergence of whole rows, by policy gradient.

See losses/policy_gradient.py for the gradient, with its single-step part, its length normalization and the
weights of rows that the teacher wrote a share of (`mix`): without it a student finds rows that its teacher
likes by mistake, such as none but commas. Before `warm_up` each word's reverse divergence is learned on real
rows; the paper's language modelling loss on real text is the labels' own.

Left out: the paper updates several times on the same rows, with the ratio of the policies clipped. Here each
batch of rows is written anew and learned once, so that there is no ratio to clip.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from fedstill_server.config.options import option
from fedstill_server.distill.on_policy.own_rows import OnPolicyTechnique, OnPolicyTerm, OwnRows
from fedstill_server.distill.technique import Setting, Step, Term
from fedstill_server.losses import policy_gradient_loss, reverse_kl_loss


class PolicyGradientDistillation(OnPolicyTechnique):
    name: ClassVar[str] = "minillm"
    source: ClassVar[str] = "Gu et al. 2024, arXiv 2306.08543"
    line: ClassVar[str] = "of text: reverse divergence of whole rows that the student writes, policy gradient"

    share: float = 1.0
    warm_up: float = 0.5
    mix: float = option(0.2, "Share of the teacher in what the rows are drawn from.", least=0, below=1)
    normalized: bool = option(True, "Whether the reward of the words behind is their mean, not their sum.")

    def begin(self, setting: Setting) -> Term:
        return _Term(self, setting, mix=self.mix)


class _Term(OnPolicyTerm):
    technique: PolicyGradientDistillation

    def on_real_rows(self, step: Step) -> Tensor:
        return reverse_kl_loss(step.logits, step.taught, mask=step.weights)

    def on_own_rows(self, logits: Tensor, taught: Tensor, rows: OwnRows) -> Tensor:
        return policy_gradient_loss(
            logits,
            taught,
            rows.words,
            written=rows.written,
            mix=self.technique.mix,
            normalized=self.technique.normalized,
        )
