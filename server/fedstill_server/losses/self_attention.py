"""MiniLM's relations of self-attention: who relates to whom among the places of a text, in any width.

    R(A, B) = softmax_j( a_i . b_j / sqrt(width of a head) )       for each head
    mean over heads and places i of KL( R_teacher || R_student )

MiniLM (Wang et al. 2020, arXiv 2002.10957) compares queries with keys, which is attention itself, and values
with values, in the last layer. Its second version (Wang et al. 2021, arXiv 2012.15828) compares queries with
queries, keys with keys and values with values; the vectors are cut into as many heads on both sides, however
many the networks have.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from fedstill_server.losses.response import divergence, masked_mean

_HIDDEN = -1e9  # added to the score of a place that holds nothing


def self_attention_relation_loss(
    student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], *, heads: int, mask: Tensor | None = None
) -> Tensor:
    """The loss of one relation, a scalar.

    Args:
        student: The two kinds of vectors that are related [batch, S, width], both the same for queries with
            queries.
        teacher: The teacher's, of any width.
        heads: How many heads the vectors of both are cut into; it divides both widths.
        mask: bool [batch, S], the places that hold something; None is all.
    """
    by_place = divergence(_relation(*teacher, heads, mask), _relation(*student, heads, mask))
    return masked_mean(by_place.mean(dim=1), mask)  # of [batch, S]


def _relation(left: Tensor, right: Tensor, heads: int, mask: Tensor | None) -> Tensor:
    """The logarithms of R [batch, heads, S, S]."""
    one, other = _by_head(left, heads), _by_head(right, heads)
    scores = one @ other.transpose(-1, -2) / one.shape[-1] ** 0.5
    if mask is not None:
        scores = scores + torch.where(mask, 0.0, _HIDDEN).to(scores.dtype)[:, None, None, :]
    return log_softmax(scores, dim=-1)


def _by_head(vectors: Tensor, heads: int) -> Tensor:
    """[batch, S, width] -> [batch, heads, S, width / heads]."""
    return vectors.reshape(*vectors.shape[:-1], heads, -1).transpose(1, 2)
