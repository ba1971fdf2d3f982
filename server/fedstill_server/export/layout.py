"""Values of a stacked graph: what a tensor is for one device, and how it lies in memory for all.

Every ONNX tensor has a leading device dimension (the stack size C, or 1 for what all devices share). The
dimensions behind it may stand in any order: `order[i]` is the logical dimension at place i. Transposing is
then a change of `order` and costs nothing until an operator needs another one. Activations come to lie with
the examples of the batch innermost ([C, channels, height, width, rows]), where slices, paddings and maxima
are long contiguous runs, and parameters stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Shape = tuple[int, ...]
Order = tuple[int, ...]


@dataclass(frozen=True)
class Value:
    """A tensor of the stacked graph."""

    name: str
    shape: Shape  # logical, of one device
    order: Order
    dtype: np.dtype[Any]
    stacked: bool = True  # False: one tensor that all devices share
    is_state: bool = False  # a parameter or an optimizer slot, or a view of one: never worth transposing
    is_input: bool = False

    def __post_init__(self) -> None:
        if sorted(self.order) != list(range(len(self.shape))):
            raise ValueError(f"{self.name}: order {self.order} does not permute {len(self.shape)} dimensions")

    @property
    def places(self) -> Shape:
        """Sizes in the order of memory, without the device dimension."""
        return tuple(self.shape[dimension] for dimension in self.order)

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    def place(self, dimension: int) -> int:
        """The axis of the ONNX tensor at which a logical dimension stands."""
        return 1 + self.order.index(dimension % len(self.shape))

    def permuted(self, dimensions: Sequence[int]) -> Value:
        """The view whose logical dimension i is this one's `dimensions[i]`; no data moves."""
        where = {old: new for new, old in enumerate(dimensions)}
        return replace(
            self,
            shape=tuple(self.shape[d] for d in dimensions),
            order=tuple(where[d] for d in self.order),
        )


def natural(rank: int) -> Order:
    return tuple(range(rank))


def rows_innermost(rank: int) -> Order:
    """The first logical dimension (the examples of a batch) last."""
    return (*range(1, rank), 0)[:rank]


def substance(shape: Shape, order: Order) -> Order:
    """The order of dimensions that are larger than 1: all that decides how data lies in memory."""
    return tuple(dimension for dimension in order if shape[dimension] > 1)


def split_groups(before: Shape, after: Shape) -> list[tuple[list[int], list[int]]]:
    """Pairs runs of dimensions of equal size of a reshape: [16, 2, 3] -> [16, 6] is [0]-[0], [1, 2]-[1]."""
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(before) or j < len(after):
        left: list[int] = []
        right: list[int] = []
        left_size = right_size = 1
        while True:
            if left_size <= right_size and i < len(before) and (left_size < right_size or not left):
                left_size *= before[i]
                left.append(i)
                i += 1
            elif j < len(after) and (right_size < left_size or not right):
                right_size *= after[j]
                right.append(j)
                j += 1
            else:
                break
        groups.append((left, right))
    return groups
