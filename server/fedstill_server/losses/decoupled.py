"""Decoupled distillation: the teacher's answer about the label, and about all other classes, weighted
apart.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from fedstill_server.losses.response import divergence, masked_mean


def decoupled_kd_loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    *,
    temperature: float,
    target_weight: float,
    other_weight: float,
    mask: Tensor | None = None,
) -> Tensor:
    """T^2 (target_weight TCKD + other_weight NCKD): decoupled (Zhao et al. 2022, arXiv 2203.08679).

    TCKD is the divergence between (label, all others); NCKD that among the others, renormalized.
    """
    if mask is not None:
        labels = labels.where(mask, labels.new_zeros(()))
    target = labels.unsqueeze(-1)  # [..., 1]
    binary, others = [], []
    for logits in (teacher / temperature, student / temperature):
        log_all = log_softmax(logits, dim=-1)
        log_target = log_all.gather(-1, target)
        log_rest = log_all.scatter(-1, target, -math.inf).logsumexp(dim=-1, keepdim=True)
        binary.append(torch.cat([log_target, log_rest], dim=-1))
        # The label leaves by a large constant instead of -inf, whose gradient is not a number.
        others.append(log_softmax(logits.scatter_add(-1, target, torch.full_like(log_target, -1e4)), dim=-1))
    by_example = target_weight * divergence(*binary) + other_weight * divergence(*others)
    return temperature**2 * masked_mean(by_example, mask)
