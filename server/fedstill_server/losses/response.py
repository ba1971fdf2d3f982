"""The losses of what a network answers: the label's cross-entropy, the teacher's soft labels, and both
(Hinton et al. 2015, arXiv 1503.02531)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, nll_loss

_IGNORED = -1


def masked_mean(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean of `values` [...], or of those where `mask` [...] is true; 0 where none is."""
    if mask is None:
        return values.mean()
    return (values * mask).sum() / mask.sum().clamp(min=1)


def cross_entropy(logits: Tensor, labels: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Mean of -log p(label); `logits` [..., classes], `labels` [...] int64. Masked labels may be anything."""
    log_p = log_softmax(logits, dim=-1).flatten(0, -2)
    if mask is None:
        return nll_loss(log_p, labels.flatten())
    targets = labels.where(mask, labels.new_full((), _IGNORED)).flatten()
    return nll_loss(log_p, targets, ignore_index=_IGNORED, reduction="sum") / mask.sum().clamp(min=1)


def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) of each example [...], given log probabilities [..., classes]; 0 log 0 is 0."""
    p = log_p.exp()
    return torch.where(p > 0, p * (log_p - log_q), torch.zeros_like(p)).sum(dim=-1)


def kd_loss(student: Tensor, teacher: Tensor, *, temperature: float, mask: Tensor | None = None) -> Tensor:
    """T^2 KL(softmax(teacher/T) || softmax(student/T)) of logits [..., classes]."""
    log_p = log_softmax(teacher / temperature, dim=-1)
    log_q = log_softmax(student / temperature, dim=-1)
    return temperature**2 * masked_mean(divergence(log_p, log_q), mask)


def soft_label_loss(
    student: Tensor, soft_labels: Tensor, *, temperature: float, mask: Tensor | None = None
) -> Tensor:
    """The same loss where the teacher's side is probabilities already softened at T, [..., classes].

    Bounded below by 0: the soft labels' own entropy is taken off, unlike in a cross-entropy.
    """
    log_q = log_softmax(student / temperature, dim=-1)
    return temperature**2 * masked_mean(divergence(soft_labels.log(), log_q), mask)


def distillation_loss(
    student: Tensor, teacher: Tensor, labels: Tensor, *, temperature: float, soft_weight: float
) -> Tensor:
    """soft_weight * kd_loss + (1 - soft_weight) * cross_entropy."""
    soft = kd_loss(student, teacher, temperature=temperature)
    return soft_weight * soft + (1 - soft_weight) * cross_entropy(student, labels)
