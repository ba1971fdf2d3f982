"""DistilBERT's triple loss (Sanh et al. 2019, arXiv 1910.01108).

    soft T^2 KL(teacher || student) + hard CE(labels) + cosine (1 - cos(h_s, h_t))

over the tokens where `mask` is true; h are hidden states of the same width. The published weights are 5, 2
and 1 at T = 2, the labels those of the language model.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import normalize

from fedstill_server.losses.response import cross_entropy, kd_loss, masked_mean


def cosine_loss(student: Tensor, teacher: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Mean of 1 - cos of vectors [..., width]."""
    return masked_mean(1 - (normalize(student, dim=-1) * normalize(teacher, dim=-1)).sum(dim=-1), mask)


class TripleWeights(NamedTuple):
    """What each part of the loss counts."""

    soft: float = 5.0
    hard: float = 2.0
    cosine: float = 1.0


PUBLISHED_WEIGHTS = TripleWeights()


def triple_loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    hidden: tuple[Tensor, Tensor],
    *,
    temperature: float = 2.0,
    weights: TripleWeights = PUBLISHED_WEIGHTS,
    mask: Tensor | None = None,
) -> Tensor:
    """DistilBERT's loss, a scalar.

    Args:
        student: Logits [..., classes].
        teacher: Logits [..., classes].
        labels: int64 [...].
        hidden: The student's and the teacher's hidden states, [..., width] each.
        temperature: T of the soft part.
        weights: What each part counts.
        mask: bool [...], the tokens that count; None counts all.
    """
    soft = kd_loss(student, teacher, temperature=temperature, mask=mask)
    hard = cross_entropy(student, labels, mask=mask)
    cosine = cosine_loss(*hidden, mask=mask)
    return weights.soft * soft + weights.hard * hard + weights.cosine * cosine
