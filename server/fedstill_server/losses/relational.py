"""Relational knowledge distillation (RKD, Park et al. 2019, arXiv 1904.05068): geometry instead of places.

    distance: mean_ij huber( d_ij^s / mu_s, d_ij^t / mu_t )     mu is the mean distance between two of a batch
    angle:    mean_ijk huber( cos^s_ijk, cos^t_ijk )            the angle at j of the triangle i j k

over all pairs and triples of a batch, as in the authors' code: those of an example with itself are 0.
huber(a, b) is (a - b)^2 / 2 up to a difference of 1, and |a - b| - 1/2 beyond. Both hold for any two widths.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize, smooth_l1_loss

_EPSILON = 1e-12  # squared distance; the root of 0 has no gradient


def distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """The loss of features [batch, ...]; a batch of at least 2."""
    count = len(student)
    apart = smooth_l1_loss(_relative_distances(student), _relative_distances(teacher), reduction="sum")
    return apart / count**2


def _relative_distances(features: Tensor) -> Tensor:
    """The distances between different examples [batch * (batch - 1)], relative to their mean."""
    flat = features.flatten(1)
    apart = ~torch.eye(len(flat), dtype=torch.bool)
    squares = (flat.unsqueeze(0) - flat.unsqueeze(1)).square().sum(dim=-1)[apart]
    distances = squares.clamp(min=_EPSILON).sqrt()
    return distances / distances.mean()


def angle_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """The loss of features [batch, ...]; a batch of at least 3. It takes the memory of batch^3 numbers."""
    different = ~torch.eye(len(student), dtype=torch.bool)
    differences = smooth_l1_loss(_angles(student), _angles(teacher), reduction="none")  # [j, i, k]
    # For i = k the cosine is 1 on both sides, but for rounding.
    return (differences * different).mean()


def _angles(features: Tensor) -> Tensor:
    flat = features.flatten(1)
    towards = normalize(flat.unsqueeze(0) - flat.unsqueeze(1), dim=-1)  # [j, i, width]: from j to i
    return towards @ towards.transpose(1, 2)  # [j, i, k]
