"""DIST (Huang et al. 2022, arXiv 2205.10536): keep the teacher's correlations, not its exact probabilities.

    T^2 (between_weight (1 - mean_b r(s_b, t_b)) + within_weight (1 - mean_c r(s_:c, t_:c)))

with Pearson's correlation r of softened probabilities: between the classes of an example, and within a class
over the examples of a batch.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize, softmax

_EPSILON = 1e-8


def correlation_loss(
    student: Tensor, teacher: Tensor, *, temperature: float, between_weight: float, within_weight: float
) -> Tensor:
    """The loss of logits [batch, classes]."""
    s, t = softmax(student / temperature, dim=-1), softmax(teacher / temperature, dim=-1)
    between = 1 - _pearson(s, t).mean()
    within = 1 - _pearson(s.T, t.T).mean()
    return temperature**2 * (between_weight * between + within_weight * within)


def _pearson(a: Tensor, b: Tensor) -> Tensor:
    """Correlation of each row [n] of a and b [n, m]; 0 where a row is constant."""
    a, b = a - a.mean(dim=-1, keepdim=True), b - b.mean(dim=-1, keepdim=True)
    return (normalize(a, dim=-1, eps=_EPSILON) * normalize(b, dim=-1, eps=_EPSILON)).sum(dim=-1)
