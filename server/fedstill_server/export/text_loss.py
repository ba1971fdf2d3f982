"""The loss of loss.py for students of text, whose rows have thousands of classes, in few passes over them.

The sums over classes are those of a log-softmax, and the entries that a label or a top-k soft label names are
gathered from it and scattered back, k numbers of a row: with p = softmax(z), q = softmax(z / T), t a soft
label,

    dCE/dz_j = p_j, or p_j - 1 for the label
    d(T^2 KL)/dz_j = T * (q_j - t_j) for a class that is named, T * q_j * (1 - t_rest / q_rest) for any other

where q_rest is summed over the classes that are not named, and not taken as 1 less the others.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fedstill_server.export.loss import TINY, StepTargets, logarithm, scaled_weight


def text_loss_and_logit_gradient(
    logits: Tensor, targets: StepTargets, *, step_scale: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The loss of a step (a scalar) and `step_scale * dloss/dlogits` [rows, classes]."""
    loss, gradient = _hard_term(logits, targets, step_scale)
    if targets.soft_weight is None:
        return loss, gradient
    assert targets.temperature is not None
    log_q = torch.log_softmax(logits / targets.temperature, -1)
    weight = targets.soft_weight * targets.temperature
    term = _dense_term if targets.soft_labels is not None else _top_k_term
    divergence, soft_gradient = term(log_q, targets, scaled_weight(weight, step_scale).unsqueeze(-1))
    return loss + (weight * targets.temperature * divergence).sum(), gradient + soft_gradient


def _hard_term(logits: Tensor, targets: StepTargets, step_scale: Tensor | None) -> tuple[Tensor, Tensor]:
    log_p = torch.log_softmax(logits, -1)
    label = targets.labels.unsqueeze(-1)  # [rows, 1]
    own = log_p.gather(-1, label)  # [rows, 1]
    weight = scaled_weight(targets.hard_weight, step_scale).unsqueeze(-1)
    gradient = (log_p.exp() * weight).scatter(1, label, (own.exp() - 1.0) * weight)
    return (targets.hard_weight * own.squeeze(-1)).sum().neg(), gradient


def _dense_term(log_q: Tensor, targets: StepTargets, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The divergence [rows] and its weighted gradient."""
    assert targets.soft_labels is not None
    target = targets.soft_labels
    divergence = (target * (logarithm(target) - log_q)).sum(-1)
    return divergence, (log_q.exp() - target) * weight


def _top_k_term(log_q: Tensor, targets: StepTargets, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The divergence over k + 1 buckets [rows] and its weighted gradient."""
    assert targets.soft_indices is not None
    assert targets.soft_probabilities is not None
    indices, named = targets.soft_indices, targets.soft_probabilities
    own = log_q.gather(-1, indices)  # [rows, k]
    others = log_q.exp().scatter(1, indices, torch.zeros_like(named))
    q_rest = others.sum(-1, keepdim=True).clamp_min(TINY)  # [rows, 1]
    rest = (1.0 - named.sum(-1, keepdim=True)).clamp_min(0.0)
    divergence = (named * (logarithm(named) - own)).sum(-1)
    divergence = divergence + (rest * (logarithm(rest) - q_rest.log())).squeeze(-1)
    gradient = others * ((1.0 - rest / q_rest) * weight)
    return divergence, gradient.scatter(1, indices, (own.exp() - named) * weight)
