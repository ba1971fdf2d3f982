"""The losses of DAFL's generator (Chen et al. 2019, arXiv 1904.01186) on a teacher's answers.

    one-hot               mean_b -log softmax(t_b)_c        c = argmax t_b: the teacher should be sure
    activation            -mean |f|                          f are its features: they should be strong
    information entropy   sum_c q_c log q_c                  q = mean_b softmax(t_b): all classes should occur

The paper's activation loss is the 1-norm of an example's features, which is the mean here times their width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fedstill_server.losses.response import cross_entropy

_LEAST = 1e-8  # share of a class that never occurs


def one_hot_loss(teacher: Tensor) -> Tensor:
    """The loss of logits [batch, classes]."""
    return cross_entropy(teacher, teacher.argmax(dim=-1))


def activation_loss(features: Tensor) -> Tensor:
    """The loss of features [batch, ...]."""
    return -features.abs().mean()


def information_entropy_loss(teacher: Tensor) -> Tensor:
    """The loss of logits [batch, classes]; at least -log(classes)."""
    share = torch.softmax(teacher, dim=-1).mean(dim=0).clamp(min=_LEAST)
    return (share * share.log()).sum()
