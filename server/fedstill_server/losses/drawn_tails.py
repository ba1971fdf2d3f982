"""Soft labels of the k likeliest classes and a drawn tail: the whole soft label's loss, in expectation
(Anshumann et al. 2025, "Sparse logit sampling", arXiv 2503.16870; fedstill_proto.soft_labels.drawn.tails).

    loss = -T^2 sum over named c of t_c log q_c,    E[t] = p

so value and gradient (q - t, of sum 0) are those of the cross-entropy with the whole p, on average over
draws. The entropy of p is no part of it: that of t, which one could subtract, is another one.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from fedstill_server.losses.response import masked_mean


def drawn_tail_loss(
    student: Tensor, indices: Tensor, weights: Tensor, *, temperature: float, mask: Tensor | None = None
) -> Tensor:
    """T^2 times the cross-entropy of named classes.

    Args:
        student: Logits [..., classes].
        indices: The named classes, int64 [..., n]; one may stand there twice.
        weights: Theirs [..., n], which add up to 1.
        temperature: T, at which the teacher's side was softened.
        mask: bool [...], the examples that count; None counts all.
    """
    log_q = log_softmax(student / temperature, dim=-1).gather(-1, indices)
    return temperature**2 * masked_mean(-(weights * log_q).sum(dim=-1), mask)


def drawn_tails(
    probabilities: Tensor, *, k: int, drawn: int, random: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """The k likeliest classes of each row, and systematic draws of the others.

    Args:
        probabilities: [..., classes], each row of sum 1.
        k: How many classes stay as they are.
        drawn: Draws of the others, each of which stands for an equal part of the rest.
        random: Of one number for each row.

    Returns:
        Classes int64 [..., k + drawn] and their weights.
    """
    kept, likeliest = probabilities.topk(min(k, probabilities.shape[-1]), dim=-1)
    if drawn == 0 or kept.shape[-1] == probabilities.shape[-1]:
        return likeliest, kept / kept.sum(dim=-1, keepdim=True)
    reached = probabilities.double().scatter(-1, likeliest, 0.0).cumsum(dim=-1)
    rest = reached[..., -1:].clone()
    uniform = torch.rand((*rest.shape[:-1], 1), generator=random, dtype=torch.float64).to(reached.device)
    wanted = (torch.arange(drawn, device=reached.device) + uniform) / drawn * rest
    draws = torch.searchsorted(reached, wanted, right=True).clamp(max=probabilities.shape[-1] - 1)
    weights = (rest / drawn).to(kept.dtype).expand(draws.shape)
    return torch.cat([likeliest, draws], dim=-1), torch.cat([kept, weights], dim=-1)
