"""DistiLLM (Ko et al. 2024, arXiv 2402.03898): skewed divergences, and rows that the student writes where it
needs them.

The loss is losses/skewed.py's. On real rows alone, as it comes, it is for any student; of text, with
`adaptive` or with a `share`, it also learns rows that the student writes: see on_policy/replay.py.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from fedstill_server.config.options import option
from fedstill_server.data.examples import Examples
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.on_policy.own_rows import OnPolicyTechnique, OnPolicyTerm, OwnRows
from fedstill_server.distill.on_policy.replay import ReplayedRows
from fedstill_server.distill.on_policy.sampling import answering
from fedstill_server.distill.technique import Setting, Step, Term
from fedstill_server.losses import cross_entropy, skewed_kl_loss, skewed_reverse_kl_loss

_ROWS_AT_ONCE = 64


class SkewedDivergence(OnPolicyTechnique):
    name: ClassVar[str] = "skewed-kl"
    source: ClassVar[str] = "Ko et al. 2024, arXiv 2402.03898"
    line: ClassVar[str] = "divergence from a mixture with the teacher, and of text rows of the student's own"

    share: float = 0.0
    skew: float = option(
        0.1, "Share of the first distribution in what it is compared with.", least=0, below=1
    )
    reverse: bool = option(False, "Whether the student's side is the first.")
    temperature: float = option(1.0, "How far both sides are softened.", above=0)
    adaptive: bool = option(False, "Whether the share grows when the student says held-out text worse.")
    margin: float = option(0.0, "How much worse, in nats a word.", least=0)
    kept: int = option(1000, "Rows of the student's own that are kept to be learned again.", least=1)

    def begin(self, setting: Setting) -> Term:
        return _OwnRowsTerm(self, setting) if self.adaptive or self.share else _Term(self)

    def lost(self, student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
        """The divergence of logits [..., classes]."""
        loss = skewed_reverse_kl_loss if self.reverse else skewed_kl_loss
        return loss(student, teacher, skew=self.skew, temperature=self.temperature, mask=mask)


class _Term(Term):
    def __init__(self, technique: SkewedDivergence) -> None:
        super().__init__()
        self.technique = technique

    def loss(self, step: Step) -> Tensor:
        return self.technique.lost(step.logits, step.taught, step.weights)


class _OwnRowsTerm(OnPolicyTerm):
    technique: SkewedDivergence

    def __init__(self, technique: SkewedDivergence, setting: Setting) -> None:
        super().__init__(technique, setting)
        if technique.adaptive and setting.held_out is None:
            raise DistillError(
                f"{technique.name}.adaptive: there is no held-out text to adapt by; give validation text, or "
                "a share that stays as it is"
            )
        self.held_out = setting.held_out
        self.replayed = ReplayedRows(technique.kept, self.places, share=technique.share)

    def rows(self, step: Step, random: torch.Generator) -> OwnRows | None:
        uniform = torch.rand((), generator=random).item()
        if self.replayed.is_due(uniform, progress=step.progress):
            rows = self.written(step, random)
            self.replayed.keep(torch.cat([rows.x, rows.words[:, -1:]], dim=1))
            return rows
        if self.replayed.is_replayed(uniform):
            words = self.replayed.drawn(len(step.x), random)
            return OwnRows.of(words, beginning=self.technique.beginning)
        return None

    def on_real_rows(self, step: Step) -> Tensor:
        return self.technique.lost(step.logits, step.taught, step.weights)

    def on_own_rows(self, logits: Tensor, taught: Tensor, rows: OwnRows) -> Tensor:
        return self.technique.lost(logits, taught, rows.written)

    def after_epoch(self, student: nn.Module, *, progress: float) -> None:
        if self.technique.adaptive and self.held_out is not None and progress >= self.technique.warm_up:
            loss = _loss_of_labels(student, self.held_out)
            self.replayed.adapt(loss, margin=self.technique.margin)


def _loss_of_labels(student: nn.Module, held_out: Examples) -> float:
    """The mean cross-entropy of the next words, in nats."""
    assert held_out.y is not None
    total = 0.0
    with answering(student), torch.no_grad():
        for start in range(0, len(held_out), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            labels = torch.from_numpy(held_out.y[part])
            total += (
                cross_entropy(student(torch.from_numpy(held_out.x[part])), labels).item() * labels.numel()
            )
    return total / held_out.y.size
