"""The distillation loss of one step of a regression, and its gradient, in closed form.

Of a student's mean m and log variance s, a label y, and a soft label of mean u and log variance l,

    loss = sum_r hard_weight[r] * NLL(y_r) + soft_weight[r] * KL(N(u, e^l) || N(m, e^s))
    NLL = (log 2 pi + s + (m - y)^2 e^-s) / 2
    KL  = (s - l + (e^l + (m - u)^2) e^-s - 1) / 2

    dNLL/dm = (m - y) e^-s                      dNLL/ds = (1 - (m - y)^2 e^-s) / 2
    dKL/dm  = (m - u) e^-s                      dKL/ds  = (1 - (e^l + (m - u)^2) e^-s) / 2

(Nix and Weigend 1994, "Estimating the mean and variance of the target probability distribution"). No
temperature softens a Gaussian.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fedstill_server.export.loss import StepTargets, scaled_weight

LOG_TWO_PI = math.log(2 * math.pi)


def gaussian_loss_and_gradient(
    answers: Tensor, targets: StepTargets, *, step_scale: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The loss of a step (a scalar) and `step_scale * dloss/danswers` [rows, 2]."""
    mean, log_variance = answers.unbind(-1)
    precision = (-log_variance).exp()
    off = mean - targets.labels
    excess = off * off * precision
    loss = (targets.hard_weight * (log_variance + excess + LOG_TWO_PI)).sum() * 0.5
    weight = scaled_weight(targets.hard_weight, step_scale)
    slopes = _slopes(off * precision, excess, weight)
    if targets.soft_weight is None:
        return loss, slopes
    assert targets.soft_labels is not None
    soft_mean, soft_log_variance = targets.soft_labels.unbind(-1)
    off = mean - soft_mean
    excess = (soft_log_variance.exp() + off * off) * precision
    divergence = log_variance - soft_log_variance + excess - 1.0
    loss = loss + (targets.soft_weight * divergence).sum() * 0.5
    weight = scaled_weight(targets.soft_weight, step_scale)
    return loss, slopes + _slopes(off * precision, excess, weight)


def _slopes(of_mean: Tensor, excess: Tensor, weight: Tensor) -> Tensor:
    return torch.stack([of_mean * weight, (1.0 - excess) * weight * 0.5], dim=-1)
