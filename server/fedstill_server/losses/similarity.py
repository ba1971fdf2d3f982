"""Similarity preserving distillation (Tung and Mori 2019, arXiv 1907.09682).

    || G_s - G_t ||_F^2 / b^2        G = A A^T with rows of unit length, A the features [b, ...] made flat

Pairs of examples that are alike to the teacher should be alike to the student. Any two widths will do.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize


def similarity_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """The loss of features [batch, ...]."""
    return (_similarities(student) - _similarities(teacher)).square().mean()


def _similarities(features: Tensor) -> Tensor:
    flat = features.flatten(1)
    return normalize(flat @ flat.T, dim=-1)  # [batch, batch]
