"""DistilBERT's triple loss (Sanh et al. 2019, arXiv 1910.01108).

    soft_weight T^2 KL(teacher || student) + hard_weight CE(labels) + cosine_weight (1 - cos(h_s, h_t))

over the tokens where `mask` is true; h are hidden states of the same width. The published weights are 5, 2
and 1 at T = 2, the labels those of the language model.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize

from fedstill_server.losses.response import cross_entropy, kd_loss, masked_mean


def cosine_loss(student: Tensor, teacher: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Mean of 1 - cos, from vectors [..., width]."""
    return masked_mean(1 - (normalize(student, dim=-1) * normalize(teacher, dim=-1)).sum(dim=-1), mask)


def triple_loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    student_hidden: Tensor,
    teacher_hidden: Tensor,
    *,
    temperature: float = 2.0,
    soft_weight: float = 5.0,
    hard_weight: float = 2.0,
    cosine_weight: float = 1.0,
    mask: Tensor | None = None,
) -> Tensor:
    """From logits [..., classes], labels [...] int64 and hidden states [..., width]."""
    soft = kd_loss(student, teacher, temperature=temperature, mask=mask)
    hard = cross_entropy(student, labels, mask=mask)
    cosine = cosine_loss(student_hidden, teacher_hidden, mask=mask)
    return soft_weight * soft + hard_weight * hard + cosine_weight * cosine
