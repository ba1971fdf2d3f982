"""The policy gradient of MiniLLM (Gu et al. 2024, arXiv 2306.08543): the reverse divergence of whole rows.

A row y of T words that was drawn from s = mix p + (1 - mix) q, q being the student and p the teacher, has
the rewards r_t = log p(y_t) / q(y_t). The gradient of KL(q || p) of rows falls into what the next word alone
does, which needs no drawing, and what it does to the words behind it:

    - sum over t of w_t grad( sum over all words v of q(v) log p(v) / q(v)  +  R_t log q(y_t) )
    R_t = sum over t' > t of r_t' / (T - t)        w_t = q(y_t) / s(y_t)

R and w are constants of the gradient. R's division is the paper's length normalization, and w the paper's
estimate, of one word, of the weight that a row from s has among those of q.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from fedstill_server.losses.response import divergence, masked_mean


def policy_gradient_loss(
    student: Tensor,
    teacher: Tensor,
    words: Tensor,
    *,
    written: Tensor,
    mix: float = 0.0,
    normalized: bool = True,
) -> Tensor:
    """A scalar whose gradient is the policy gradient, as a mean over written places.

    Args:
        student: Logits [n, S, words].
        teacher: Logits [n, S, words].
        words: The words drawn after each place, int64 [n, S].
        written: Which of them were drawn, and not given, bool [n, S].
        mix: The share of the teacher in the distribution that drew them.
        normalized: Whether R is divided by the number of words that it is of.
    """
    log_p, log_q = log_softmax(teacher, dim=-1), log_softmax(student, dim=-1)
    of_words = words.unsqueeze(-1)
    p_said = log_p.gather(-1, of_words).squeeze(-1)  # [n, S]
    q_said = log_q.gather(-1, of_words).squeeze(-1)
    with torch.no_grad():
        behind = rewards_behind(p_said - q_said, written=written, normalized=normalized)
        weights = _importance(p_said, q_said, mix)
    single = divergence(log_q, log_p)
    return masked_mean(weights * (single - behind * q_said), written)


def rewards_behind(rewards: Tensor, *, written: Tensor, normalized: bool = True) -> Tensor:
    """For each place [n, S], the sum (or the mean) of the rewards of written places behind it; 0 without
    any.
    """
    rewards = rewards * written
    sums = rewards.flip(-1).cumsum(-1).flip(-1) - rewards
    if not normalized:
        return sums
    behind = written.flip(-1).cumsum(-1).flip(-1) - written.long()
    return sums / behind.clamp(min=1)


def _importance(p_said: Tensor, q_said: Tensor, mix: float) -> Tensor:
    if mix == 0:
        return torch.ones_like(q_said)
    drawn = torch.logaddexp(p_said + math.log(mix), q_said + math.log1p(-mix))
    return (q_said - drawn).exp()
