"""Generalized Jensen-Shannon divergence, between the Kullback-Leibler divergence and its reverse."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from fedstill_server.losses.response import divergence, masked_mean


def jensen_shannon_loss(
    student: Tensor, teacher: Tensor, *, beta: float, temperature: float = 1.0, mask: Tensor | None = None
) -> Tensor:
    """Generalized Jensen-Shannon divergence (Agarwal et al. 2024, arXiv 2306.13649, equation 1), times T^2.

    beta KL(t || m) + (1 - beta) KL(s || m) with m = beta t + (1 - beta) s. Its ends are read as the limits of
    the divergence over beta (1 - beta): 0 is KL(t || s), 1 is KL(s || t).
    """
    log_t = log_softmax(teacher / temperature, dim=-1)
    log_s = log_softmax(student / temperature, dim=-1)
    if beta == 0:
        by_example = divergence(log_t, log_s)
    elif beta == 1:
        by_example = divergence(log_s, log_t)
    else:
        log_m = torch.logaddexp(log_t + math.log(beta), log_s + math.log1p(-beta))
        by_example = beta * divergence(log_t, log_m) + (1 - beta) * divergence(log_s, log_m)
    return temperature**2 * masked_mean(by_example, mask)
