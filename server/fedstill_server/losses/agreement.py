"""Agreement weights for several teachers: one that contradicts the others counts less.

    a_k = mean over j != k of (1 - JSD(p_k, p_j) / log 2)        w_k = a_k^s / sum_j a_j^s

for each example, with the Jensen-Shannon divergence JSD (Lin 1991, IEEE Trans. Inf. Theory 37(1)), which is
at most log 2. A teacher that answers at random, or was corrupted, agrees with none; the others keep each
other's weight. s is the sharpness; 0 is the plain mean. One teacher has weight 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from fedstill_server.losses.response import divergence

_LEAST_AGREEMENT = 1e-6  # where all contradict all, all count the same


def agreement_weights(logits: Tensor, *, temperature: float = 1.0, sharpness: float = 1.0) -> Tensor:
    """Weights [teachers, ...] that add up to 1 over the teachers, for logits [teachers, ..., classes]."""
    teachers = logits.shape[0]
    if teachers == 1:
        return torch.ones_like(logits[..., 0])
    log_p = log_softmax(logits / temperature, dim=-1)
    agreement = []
    for teacher in range(teachers):
        others = [_agreement(log_p[teacher], log_p[other]) for other in range(teachers) if other != teacher]
        agreement.append(torch.stack(others).mean(dim=0))
    powers = torch.stack(agreement).clamp(min=_LEAST_AGREEMENT) ** sharpness
    return powers / powers.sum(dim=0)


def _agreement(log_p: Tensor, log_q: Tensor) -> Tensor:
    """1 - JSD / log 2 of each example [...]."""
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    return 1 - (divergence(log_p, log_m) + divergence(log_q, log_m)) / (2 * math.log(2))
