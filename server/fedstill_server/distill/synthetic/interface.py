"""What synthetic examples look like."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fedstill_server.distill.plan import check


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """`count` examples of `shape`, each value from low to high: all that is known of data that nobody has
    seen.
    """

    shape: tuple[int, ...]
    classes: int
    count: int = 2000
    low: float = 0.0
    high: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        check(self.count >= 1, "count", self.count, "1 or more")
        check(self.low < self.high, "low", self.low, f"below high, which is {self.high}")

    @property
    def width(self) -> int:
        return math.prod(self.shape)

    def of_unit(self, values: Tensor) -> Tensor:
        """Values from 0 to 1 [n, width] as examples [n, *shape]."""
        return (self.low + (self.high - self.low) * values).reshape(-1, *self.shape)

    def random(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)
