"""The mean soft label of each class (federated distillation, Jeong et al. 2018, arXiv 1811.11479)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softmax


def class_means(logits: Tensor, labels: Tensor, *, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Mean soft label of each class [classes, classes] (0 where there is none) and its examples [classes]."""
    classes = logits.shape[-1]
    soft = softmax(logits / temperature, dim=-1)
    sums = soft.new_zeros(classes, classes).index_add(0, labels, soft)
    examples = torch.bincount(labels, minlength=classes)
    return sums / examples.clamp(min=1).unsqueeze(-1), examples
