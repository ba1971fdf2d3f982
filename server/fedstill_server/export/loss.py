"""The distillation loss of one step and its gradient with respect to the logits, in closed form.

    loss = sum_r hard_weight[r] * CE(z_r, y_r) + soft_weight[r] * T^2 * KL(soft_r || softmax(z_r / T))

(Hinton, Vinyals and Dean, 2015, arXiv:1503.02531). A closed form needs no automatic differentiation through
the softmaxes, shares one exponential between value and gradient, and keeps top-k soft labels sparse.

    dCE/dz = softmax(z) - onehot(y)             d(T^2 KL)/dz = T * (softmax(z / T) - target)

For dense soft labels `target` is the soft label. For top-k soft labels the divergence is over k + 1
buckets, the last of which holds all classes that are not named, on both sides; with p = softmax(z / T), t
the named probabilities and t_rest = 1 - sum(t), p_rest = sum of p over classes not named,

    KL = sum_i t_i (log t_i - log p_i) + t_rest (log t_rest - log p_rest)
    target_j = t_j for a named class, t_rest * p_j / p_rest for any other:

what the soft label does not say is spread as the student itself spreads it, and exerts no pull.

Gradients are multiplied by `step_scale`: plain SGD puts its learning rate there, where it costs one small
product, and then subtracts gradients from parameters as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

TINY = float(torch.finfo(torch.float32).tiny)


@dataclass(frozen=True)
class StepTargets:
    """What the logits of a step are held against; soft fields are None in plain training."""

    labels: Tensor  # int64 [rows]; float32 of a regression
    hard_weight: Tensor  # [rows]
    soft_weight: Tensor | None = None  # [rows]
    soft_labels: Tensor | None = None  # [rows, classes], dense; (mean, log variance) of a regression
    soft_indices: Tensor | None = None  # int64 [rows, k], top-k; unique within a row
    soft_probabilities: Tensor | None = None  # [rows, k], top-k
    temperature: Tensor | None = None  # []


class StepLoss(Protocol):
    """The loss of a step (a scalar) and `step_scale * dloss/dlogits` [rows, classes]."""

    def __call__(
        self, logits: Tensor, targets: StepTargets, /, *, step_scale: Tensor | None
    ) -> tuple[Tensor, Tensor]: ...


def loss_and_logit_gradient(
    logits: Tensor, targets: StepTargets, *, step_scale: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The loss of a step (a scalar) and `step_scale * dloss/dlogits` [rows, classes]."""
    shifted = logits - logits.amax(-1, keepdim=True)
    loss, gradient = _hard_term(shifted, targets, step_scale)
    if targets.soft_weight is None:
        return loss, gradient
    soft_loss, soft_gradient = _soft_term(shifted, targets, step_scale)
    return loss + soft_loss, gradient + soft_gradient


def _hard_term(shifted: Tensor, targets: StepTargets, step_scale: Tensor | None) -> tuple[Tensor, Tensor]:
    exponential = shifted.exp()
    total = exponential.sum(-1, keepdim=True)
    classes = torch.arange(shifted.shape[-1])
    one_hot = (targets.labels.unsqueeze(-1) == classes).to(shifted.dtype)
    cross_entropy = total.log().squeeze(-1) - (shifted * one_hot).sum(-1)  # [rows]
    loss = (targets.hard_weight * cross_entropy).sum()
    weight = scaled_weight(targets.hard_weight, step_scale).unsqueeze(-1)
    return loss, (exponential / total - one_hot) * weight


def _soft_term(shifted: Tensor, targets: StepTargets, step_scale: Tensor | None) -> tuple[Tensor, Tensor]:
    assert targets.soft_weight is not None
    assert targets.temperature is not None
    temperature = targets.temperature
    scaled = shifted / temperature
    exponential = scaled.exp()
    total = exponential.sum(-1, keepdim=True)
    log_total = total.log()
    probabilities = exponential / total
    if targets.soft_labels is not None:
        target = targets.soft_labels
        divergence = (target * (logarithm(target) - (scaled - log_total))).sum(-1)  # [rows]
    else:
        target, divergence = _top_k_target(scaled, exponential, log_total, targets)
    weight = targets.soft_weight * temperature
    loss = (weight * temperature * divergence).sum()
    gradient = (probabilities - target) * scaled_weight(weight, step_scale).unsqueeze(-1)
    return loss, gradient


def _top_k_target(
    scaled: Tensor, exponential: Tensor, log_total: Tensor, targets: StepTargets
) -> tuple[Tensor, Tensor]:
    """The gradient's target [rows, classes] and the divergence over k + 1 buckets [rows]."""
    assert targets.soft_indices is not None
    assert targets.soft_probabilities is not None
    named = targets.soft_probabilities
    rest = (1.0 - named.sum(-1, keepdim=True)).clamp_min(0.0)  # [rows, 1]
    zeros = torch.zeros_like(scaled)
    label = zeros.scatter(1, targets.soft_indices, named)  # [rows, classes]
    is_named = zeros.scatter(1, targets.soft_indices, torch.ones_like(named))
    rest_exponential = exponential * (1.0 - is_named)
    rest_total = rest_exponential.sum(-1, keepdim=True).clamp_min(TINY)  # [rows, 1]
    target = label + rest_exponential * (rest / rest_total)
    entropy = (named * logarithm(named)).sum(-1) + (rest * logarithm(rest)).squeeze(-1)
    cross = (label * (scaled - log_total)).sum(-1) + (rest * (rest_total.log() - log_total)).squeeze(-1)
    return target, entropy - cross


def logarithm(probabilities: Tensor) -> Tensor:
    """A logarithm for `p * log(p)`, which is 0 at p = 0."""
    return probabilities.clamp_min(TINY).log()


def scaled_weight(weight: Tensor, step_scale: Tensor | None) -> Tensor:
    return weight if step_scale is None else weight * step_scale
