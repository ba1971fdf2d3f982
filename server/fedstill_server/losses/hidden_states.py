"""Hidden states of a transformer (TinyBERT, Jiao et al. 2020, arXiv 1909.10351, equations 8 and 9).

    mean over the places that hold something, and over the width, of ( H_s W - H_t )^2

The linear map W, trained along and thrown away, brings the student's width to the teacher's.
"""

from __future__ import annotations

from torch import Tensor

from fedstill_server.losses.response import masked_mean


def hidden_state_loss(adapted: Tensor, teacher: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """The loss of hidden states of one shape [batch, S, width], the student's after its map.

    Args:
        adapted: H_s W.
        teacher: H_t.
        mask: bool [batch, S], the places that hold something; None is all.
    """
    return masked_mean((adapted - teacher).square().mean(dim=-1), mask)
