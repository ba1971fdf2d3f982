"""A teacher: a perceptron of residual blocks (He et al. 2016, arXiv 1512.03385), which the server alone runs.

h <- h + dropout(relu(W h))
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """It is made like a student family, and may be of any size and of any operators."""

    def __init__(
        self, input_shape: tuple[int, ...], classes: int, *, width: int = 128, blocks: int = 3
    ) -> None:
        super().__init__()
        self.first = nn.Linear(math.prod(input_shape), width)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.dropout = nn.Dropout(0.1)
        self.output = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.first(x.flatten(1)))
        for block in self.blocks:
            h = h + self.dropout(torch.relu(block(h)))
        logits: Tensor = self.output(h)
        return logits
