"""Probabilistic knowledge transfer (PKT, Passalis and Tefas 2018, arXiv 1803.10837).

How near each example is to the others of the batch becomes a distribution, with the cosine kernel
K(a, b) = (cos(a, b) + 1) / 2:

    mean_ij p_ij^t log( p_ij^t / p_ij^s )        p_ij = K(i, j) / sum_k K(i, k)

over all pairs, each example with itself among them, as in the authors' code.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize

_EPSILON = 1e-7  # opposite features have a kernel of 0


def probabilistic_transfer_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """The loss of features [batch, ...] of any two widths."""
    p, q = _neighbours(teacher), _neighbours(student)
    return (p * ((p + _EPSILON) / (q + _EPSILON)).log()).mean()


def _neighbours(features: Tensor) -> Tensor:
    """p [batch, batch]."""
    unit = normalize(features.flatten(1), dim=-1)
    kernel = (unit @ unit.T + 1) / 2
    return kernel / kernel.sum(dim=-1, keepdim=True)
