"""The reverse Kullback-Leibler divergence, and both directions against a skewed mixture.

A small student that learns KL(p || q) spreads over all that its teacher p might say, also between what it
says; the reverse makes it keep to what the teacher does say. Neither is bounded where one of the two is near
0. DistiLLM's skewed divergences mix a little of the first distribution into the second, which bounds them by
-log(skew), and their gradients with them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from fedstill_server.losses.response import divergence, masked_mean


def reverse_kl_loss(
    student: Tensor, teacher: Tensor, *, temperature: float = 1.0, mask: Tensor | None = None
) -> Tensor:
    """T^2 KL(q || p) of logits [..., classes], q the student's probabilities and p the teacher's (Gu et al.
    2024, arXiv 2306.08543).
    """
    log_p = log_softmax(teacher / temperature, dim=-1)
    log_q = log_softmax(student / temperature, dim=-1)
    return temperature**2 * masked_mean(divergence(log_q, log_p), mask)


def skewed_kl_loss(
    student: Tensor, teacher: Tensor, *, skew: float, temperature: float = 1.0, mask: Tensor | None = None
) -> Tensor:
    """T^2 KL(p || skew p + (1 - skew) q) (Ko et al. 2024, arXiv 2402.03898); KL(p || q) at a skew of 0."""
    log_p = log_softmax(teacher / temperature, dim=-1)
    log_q = log_softmax(student / temperature, dim=-1)
    return temperature**2 * masked_mean(divergence(log_p, _mixed(log_p, log_q, skew)), mask)


def skewed_reverse_kl_loss(
    student: Tensor, teacher: Tensor, *, skew: float, temperature: float = 1.0, mask: Tensor | None = None
) -> Tensor:
    """T^2 KL(q || skew q + (1 - skew) p) (Ko et al. 2024, arXiv 2402.03898); KL(q || p) at a skew of 0."""
    log_p = log_softmax(teacher / temperature, dim=-1)
    log_q = log_softmax(student / temperature, dim=-1)
    return temperature**2 * masked_mean(divergence(log_q, _mixed(log_q, log_p, skew)), mask)


def _mixed(log_first: Tensor, log_second: Tensor, share: float) -> Tensor:
    """log(share * first + (1 - share) * second)."""
    if share == 0:
        return log_second
    return torch.logaddexp(log_first + math.log(share), log_second + math.log1p(-share))
