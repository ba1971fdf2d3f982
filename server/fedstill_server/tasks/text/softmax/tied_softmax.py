"""The loss of a student of text on labels and top-k soft labels, in few passes over thousands of words.

With z = h E^T, p = softmax(z), y the next word, t the soft label, a = soft_weight (temperature 1):

    loss = (1 - a) CE(p, y) + a KL(t || p)
    dloss/dz_j = p_j - (1 - a) [j = y] - a t_j                            of a word that t names
    dloss/dz_j = p_j - (1 - a) [j = y] - a p_j t_rest / p_rest            of any other

where, as in export/text_loss.py, what t does not name stays spread as the student itself spreads it. If it is
known how all words share the rest (u, of sum 1), t is made whole instead, and then of any word j

    t_j = what t says of j, or 0, + t_rest u_j,        dloss/dz_j = p_j - (1 - a) [j = y] - a t_j

Values and gradients are made together, some rows at a time, so that the logits of these rows never leave the
cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

_ROWS_AT_ONCE = 256
_LEAST = 1e-20


@dataclass(frozen=True)
class NextWordTargets:
    """What comes next at n places, and what a teacher said of it."""

    words: Tensor  # int64 [n]
    named: Tensor | None = None  # int64 [n, k], different words in a row
    chances: Tensor | None = None  # float32 [n, k], of the named; the rest is 1 less their sum
    soft_weight: float = 0.0
    shares: Tensor | None = None  # float32 [m, V] of sum 1: how all words, the named too, share the rest
    shares_of: Tensor | None = None  # int64 [n], the row of `shares` that holds at each place
    candidates: Tensor | None = None  # int64 [c]: the softmax is over these; `words` are places among them
    raised: Tensor | None = None  # float32 [c], what is added to their logits

    def __getitem__(self, rows: slice) -> NextWordTargets:
        named = None if self.named is None else self.named[rows]
        chances = None if self.chances is None else self.chances[rows]
        shares_of = None if self.shares_of is None else self.shares_of[rows]
        return replace(self, words=self.words[rows], named=named, chances=chances, shares_of=shares_of)


def next_word_loss(states: Tensor, table: Tensor, targets: NextWordTargets) -> Tensor:
    """The mean loss of n places, of which `states` [n, width] is read by the tied table [V, width]."""
    apply: Callable[..., Tensor] = _NextWordLoss.apply
    return apply(states, table, targets)


class _NextWordLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, table: Tensor, targets: NextWordTargets) -> Tensor:
        read = table if targets.candidates is None else table[targets.candidates]
        places, loss = len(states), states.new_zeros(())
        state_gradient, read_gradient = torch.empty_like(states), torch.zeros_like(read)
        for start in range(0, places, _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            logits = states[rows] @ read.t()
            if targets.raised is not None:
                logits += targets.raised
            loss += _loss_and_gradient_in_place(logits, targets[rows])
            logits /= places
            state_gradient[rows] = logits @ read
            read_gradient.addmm_(logits.t(), states[rows])
        table_gradient = read_gradient
        if targets.candidates is not None:
            table_gradient = torch.zeros_like(table)
            table_gradient[targets.candidates] = read_gradient
        ctx.save_for_backward(state_gradient, table_gradient)
        return loss / places

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        state_gradient, table_gradient = ctx.saved_tensors
        return state_gradient * gradients[0], table_gradient * gradients[0], None


def _loss_and_gradient_in_place(logits: Tensor, targets: NextWordTargets) -> Tensor:
    """The sum of the losses; `logits` [n, V] become its gradient."""
    largest = logits.amax(-1, keepdim=True)
    chances = logits.sub_(largest).exp_()
    chances /= chances.sum(-1, keepdim=True)
    hard, label = 1 - targets.soft_weight, targets.words.unsqueeze(-1)
    right = chances.gather(-1, label)
    loss = -hard * right.clamp_min(_LEAST).log().sum()
    if targets.named is not None and targets.chances is not None and targets.soft_weight:
        loss = loss + targets.soft_weight * _soften_in_place(chances, targets)
    chances.scatter_add_(-1, label, torch.full_like(right, -hard))
    return loss


def _soften_in_place(chances: Tensor, targets: NextWordTargets) -> Tensor:
    """KL(t || p) summed over rows; `chances` p become p - a t, the rest spread as u or p is."""
    assert targets.named is not None
    assert targets.chances is not None
    named, soft = targets.named, targets.chances
    rest = (1 - soft.sum(-1, keepdim=True)).clamp_min(0)
    if targets.shares is not None:
        assert targets.shares_of is not None
        whole = targets.shares[targets.shares_of].mul_(rest).scatter_add_(-1, named, soft)
        unlike = whole.clamp_min(_LEAST).log() - chances.clamp_min(_LEAST).log()
        chances.sub_(whole, alpha=targets.soft_weight)
        return (whole * unlike).sum()
    own = chances.gather(-1, named)
    own_rest = (1 - own.sum(-1, keepdim=True)).clamp_min(_LEAST)
    divergence = (soft * (soft.clamp_min(_LEAST).log() - own.clamp_min(_LEAST).log())).sum()
    divergence = divergence + (rest * (rest.clamp_min(_LEAST).log() - own_rest.log())).sum()
    chances *= 1 - targets.soft_weight * rest / own_rest
    chances.scatter_(-1, named, own - targets.soft_weight * soft)
    return divergence
