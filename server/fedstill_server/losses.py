"""Distillation losses as pure functions.

Classes are the last dimension. Everything is computed in log space. A loss is the sum over classes, averaged
over the examples (over the tokens where `mask` is true, if there is one). T^2 multiplies every soft term, so
that its gradient keeps its size when the temperature T changes (Hinton et al. 2015, arXiv 1503.02531). A
teacher's logits or probabilities are taken as they come: who calls detaches them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, softmax


def masked_mean(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean of `values` [...], or of those where `mask` [...] is true; 0 where none is."""
    if mask is None:
        return values.mean()
    return (values * mask).sum() / mask.sum().clamp(min=1)


def cross_entropy(logits: Tensor, labels: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Mean of -log p(label); `logits` [..., classes], `labels` [...] int64. Masked labels may be anything."""
    if mask is not None:
        labels = labels.where(mask, labels.new_zeros(()))
    chosen = log_softmax(logits, dim=-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)  # [...]
    return masked_mean(-chosen, mask)


def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) of each example [...], from log probabilities [..., classes]; 0 log 0 is 0."""
    p = log_p.exp()
    return torch.where(p > 0, p * (log_p - log_q), torch.zeros_like(p)).sum(dim=-1)


def kd_loss(student: Tensor, teacher: Tensor, *, temperature: float, mask: Tensor | None = None) -> Tensor:
    """T^2 KL(softmax(teacher/T) || softmax(student/T)), from logits [..., classes]."""
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


def top_k_bucket_loss(
    student: Tensor, indices: Tensor, probabilities: Tensor, *, temperature: float, mask: Tensor | None = None
) -> Tensor:
    """T^2 KL over k+1 buckets: the k kept classes, and on both sides one for all others together.

    `indices` [..., k] int64 and `probabilities` [..., k] (softened at T) of the teacher; what they leave of
    1 is the teacher's rest bucket. With k = classes there is no rest, and this is `soft_label_loss`.
    """
    log_q = log_softmax(student / temperature, dim=-1)
    kept = log_q.gather(-1, indices)  # [..., k]
    loss = divergence(probabilities.log(), kept)
    if indices.shape[-1] < student.shape[-1]:
        others = log_q.scatter(-1, indices, -math.inf).logsumexp(dim=-1)  # [...]
        rest = (1 - probabilities.sum(dim=-1)).clamp(min=0)
        loss = loss + torch.where(rest > 0, rest * (rest.log() - others), torch.zeros_like(rest))
    return temperature**2 * masked_mean(loss, mask)


def top_k_renormalized_loss(
    student: Tensor, indices: Tensor, probabilities: Tensor, *, temperature: float, mask: Tensor | None = None
) -> Tensor:
    """T^2 KL where the teacher's kept classes are scaled to add up to 1, and its others are 0."""
    log_q = log_softmax(student / temperature, dim=-1).gather(-1, indices)  # [..., k]
    log_p = (probabilities / probabilities.sum(dim=-1, keepdim=True)).log()
    return temperature**2 * masked_mean(divergence(log_p, log_q), mask)


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
        each = divergence(log_t, log_s)
    elif beta == 1:
        each = divergence(log_s, log_t)
    else:
        log_m = torch.logaddexp(log_t + math.log(beta), log_s + math.log1p(-beta))
        each = beta * divergence(log_t, log_m) + (1 - beta) * divergence(log_s, log_m)
    return temperature**2 * masked_mean(each, mask)


def decoupled_kd_loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    *,
    temperature: float,
    target_weight: float,
    other_weight: float,
) -> Tensor:
    """T^2 (target_weight TCKD + other_weight NCKD): decoupled (Zhao et al. 2022, arXiv 2203.08679).

    TCKD is the divergence between (label, all others); NCKD that among the others, renormalized.
    """
    target = labels.unsqueeze(-1)  # [..., 1]
    binary, others = [], []
    for logits in (teacher / temperature, student / temperature):
        log_all = log_softmax(logits, dim=-1)
        log_target = log_all.gather(-1, target)
        log_rest = log_all.scatter(-1, target, -math.inf).logsumexp(dim=-1, keepdim=True)
        binary.append(torch.cat([log_target, log_rest], dim=-1))
        # The label leaves by a large constant instead of -inf, whose gradient is not a number.
        others.append(log_softmax(logits.scatter_add(-1, target, torch.full_like(log_target, -1e4)), dim=-1))
    each = target_weight * divergence(*binary) + other_weight * divergence(*others)
    return temperature**2 * masked_mean(each)


def class_means(logits: Tensor, labels: Tensor, *, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Mean soft label of each class [classes, classes] (0 where there is none) and its examples [classes]."""
    classes = logits.shape[-1]
    soft = softmax(logits / temperature, dim=-1)
    sums = soft.new_zeros(classes, classes).index_add(0, labels, soft)
    examples = torch.bincount(labels, minlength=classes)
    return sums / examples.clamp(min=1).unsqueeze(-1), examples
