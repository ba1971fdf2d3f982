"""Attention transfer: the student looks where the teacher looks.

Maps of convolutions (Zagoruyko and Komodakis 2017, arXiv 1612.03928): of activations A [channels, h, w],
Q(A) = sum_c A_c^2 as a vector of h*w places; the loss is

    mean over batch and places of (Q(A_s) / ||Q(A_s)|| - Q(A_t) / ||Q(A_t)||)^2

as in the authors' code; equation 2 of the paper has the norm of the difference instead.

Matrices of transformers (TinyBERT, Jiao et al. 2020, arXiv 1909.10351, equation 7): the mean square between
attention matrices, averaged over the heads first where student and teacher have not the same number.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize


def attention_map_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """The loss of activations [batch, channels, height, width]; the larger map is pooled to the smaller's
    size.
    """
    size = (min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3]))
    return (_map(student, size) - _map(teacher, size)).square().mean()


def _map(activations: Tensor, size: tuple[int, int]) -> Tensor:
    energy = adaptive_avg_pool2d(activations, size).square().sum(dim=1)
    return normalize(energy.flatten(1), dim=-1)  # [batch, places]


def attention_matrix_loss(student: Tensor, teacher: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """The loss of attention [batch, heads, queries, keys]; `mask` [batch, queries] leaves padded queries
    out.
    """
    if student.shape[1] != teacher.shape[1]:
        student, teacher = student.mean(dim=1, keepdim=True), teacher.mean(dim=1, keepdim=True)
    by_query = (student - teacher).square().mean(dim=(1, 3))  # [batch, queries]
    if mask is None:
        return by_query.mean()
    return torch.where(mask, by_query, torch.zeros_like(by_query)).sum() / mask.sum().clamp(min=1)
