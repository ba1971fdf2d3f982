"""Attention matrices of transformers (TinyBERT, Jiao et al. 2020, arXiv 1909.10351, equation 7).

The student's attention softmax(q k^T / sqrt(d)) learns the teacher's. `layers` pairs parts that return such
matrices: those of the transformer family (`blocks.0.attention.weights`), of a model of Hugging Face, whose
configuration counts them, or of an own module, [n, heads, S, S], [n * heads, S, S], or what
nn.MultiheadAttention returns beside its output. Of sub-words, padding is not compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.technique import FeatureTechnique, Setting, Step, Term
from fedstill_server.losses import attention_matrix_loss


class AttentionMatrices(FeatureTechnique):
    name: ClassVar[str] = "attention-matrices"
    source: ClassVar[str] = "Jiao et al. 2020, arXiv 1909.10351"
    line: ClassVar[str] = "places of a transformer look where the teacher's look"
    compares: ClassVar[str] = "attention"

    layers: str = "uniform"
    weight: float = 10.0  # the entries of a row add up to 1, and their squares are small

    def pairs(self, student: Sequence[str], teacher: Sequence[str]) -> tuple[tuple[str, str], ...]:
        for who, parts in (("student", student), ("teacher", teacher)):
            if self.layers in ("uniform", "last") and not parts:
                raise DistillError(
                    f"attention-matrices: the {who} shows none; it takes two transformers, torch modules both"
                )
        return super().pairs(student, teacher)

    def begin(self, setting: Setting) -> Term:
        setting.check_pairs(self.name, "attention matrices", _square)
        return _Term(setting)


class _Term(Term):
    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.pairs = setting.pairs

    def loss(self, step: Step) -> Tensor:
        rows = len(step.x)
        mask = step.places  # [B, S]
        losses = [
            attention_matrix_loss(
                _by_head(step.features[mine], rows), _by_head(step.teacher_features[theirs], rows), mask=mask
            )
            for mine, theirs in self.pairs
        ]
        return torch.stack(losses).mean()


def _square(matrices: Tensor) -> bool:
    return matrices.dim() in (3, 4) and matrices.shape[-1] == matrices.shape[-2]


def _by_head(matrices: Tensor, rows: int) -> Tensor:
    """[rows, heads, S, S]."""
    return matrices.reshape(rows, -1, *matrices.shape[-2:])
