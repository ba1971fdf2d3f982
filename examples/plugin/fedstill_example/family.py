"""A student family: a perceptron whose wide layer is the product of two thin ones.

    h = relu(U V x)    V: [rank, inputs]    U: [hidden, rank]

(Sainath et al. 2013, "Low-rank matrix factorization for deep neural network training", ICASSP.) With few
weights it has as many hidden units as a student that is several times as large.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class LowRank(nn.Module):
    """fedstill calls it with the parameters that it knows, by name; all others need defaults."""

    def __init__(
        self, input_shape: tuple[int, ...], classes: int, *, rank: int = 8, hidden: int = 96
    ) -> None:
        super().__init__()
        self.thin = nn.Linear(math.prod(input_shape), rank, bias=False)
        self.wide = nn.Linear(rank, hidden)
        self.output = nn.Linear(hidden, classes)  # methods that speak of features read what goes in here

    def forward(self, x: Tensor) -> Tensor:
        """x: [batch, *input_shape] -> logits [batch, classes]."""
        logits: Tensor = self.output(torch.relu(self.wide(self.thin(x.flatten(1)))))
        return logits
