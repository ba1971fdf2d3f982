"""Logit standardization (Sun et al. 2024, arXiv 2403.01427): match the teacher's shape, not its size.

    T^2 KL( softmax(z(t) / T) || softmax(z(s) / T) )        z(x) = (x - mean x) / std x, over the classes

A small student need not reach the range of a large teacher's logits.
"""

from __future__ import annotations

from torch import Tensor

from fedstill_server.losses.response import kd_loss

_EPSILON = 1e-7  # equal logits stay 0


def standardized(logits: Tensor) -> Tensor:
    """Logits [..., classes] to mean 0 and (unbiased) standard deviation 1 of each row."""
    centred = logits - logits.mean(dim=-1, keepdim=True)
    return centred / (logits.std(dim=-1, keepdim=True) + _EPSILON)


def standardized_kd_loss(
    student: Tensor, teacher: Tensor, *, temperature: float, mask: Tensor | None = None
) -> Tensor:
    """The loss of logits [..., classes]."""
    return kd_loss(standardized(student), standardized(teacher), temperature=temperature, mask=mask)
