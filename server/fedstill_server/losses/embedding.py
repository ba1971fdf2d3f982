"""Embeddings of sentences: how alike two of a batch are, to the student as to the teacher.

    mean over i != j of ( cos(s_i, s_j) - cos(t_i, t_j) )^2

What a sentence model is asked for is the cosine of two texts, and this is the error of it: any two widths
will do, and a turned space is as good (Tung and Mori 2019, arXiv 1907.09682, of features; Reimers and
Gurevych 2020, arXiv 2004.09813, distil the embeddings themselves). For equal widths 1 - cos(s_i, t_i) of
losses/triple.py stands beside it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def pairwise_cosine_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """The loss of embeddings [batch, width]; 0 for a batch of one."""
    count = len(student)
    apart = 1 - torch.eye(count, dtype=student.dtype)
    square = (_cosines(student) - _cosines(teacher)).square() * apart
    return square.sum() / max(count * (count - 1), 1)


def _cosines(embeddings: Tensor) -> Tensor:
    unit = normalize(embeddings.flatten(1), dim=-1)
    return unit @ unit.T  # [batch, batch]
