"""Soft labels of which only the k largest are known, with a rest bucket or renormalized."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from fedstill_server.losses.response import divergence, masked_mean


def top_k_bucket_loss(
    student: Tensor, indices: Tensor, probabilities: Tensor, *, temperature: float, mask: Tensor | None = None
) -> Tensor:
    """T^2 KL over k+1 buckets: the k kept classes, and on both sides one for all others together.

    With k = classes there is no rest, and this is `soft_label_loss`.

    Args:
        student: Logits [..., classes].
        indices: The teacher's kept classes, int64 [..., k].
        probabilities: Theirs, softened at T [..., k]; what they leave of 1 is the teacher's rest bucket.
        temperature: T.
        mask: bool [...], the examples that count; None counts all.
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
