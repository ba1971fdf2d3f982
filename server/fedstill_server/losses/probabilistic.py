"""Probabilistic knowledge transfer (PKT, Passalis and Tefas 2018, arXiv 1803.10837).

Of each example, how near the batch's other examples are becomes a distribution, with the cosine kernel
K(a, b) = (cos(a, b) + 1) / 2:

    mean_i KL( p_i^t || p_i^s )        p_i(j) = K(i, j) / sum_{k != i} K(i, k),  j != i
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fedstill_server.losses.response import divergence

_EPSILON = 1e-7  # opposite features have a kernel of 0


def probabilistic_transfer_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """From features [batch, ...] of any two widths; a batch of at least 2."""
    return divergence(_log_neighbours(teacher), _log_neighbours(student)).mean()


def _log_neighbours(features: Tensor) -> Tensor:
    """log p [batch, batch - 1]."""
    unit = normalize(features.flatten(1), dim=-1)
    kernel = ((unit @ unit.T + 1) / 2).clamp(min=_EPSILON)
    others = kernel[~torch.eye(len(unit), dtype=torch.bool)].reshape(len(unit), -1)
    return (others / others.sum(dim=-1, keepdim=True)).log()
