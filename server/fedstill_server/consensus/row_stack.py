"""The answers of many devices about some rows, side by side.

A device's own part (RowSums) is the definition. What is computed of a stack is, bit for bit, what is computed
of each of its parts, in fewer and longer steps; a few devices at a time stay in a processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import BoolArray, Float64Array, IntArray

from fedstill_server.consensus.aggregation import RowSums, Statistics
from fedstill_server.consensus.exact_sum import StackedRows

STACK = 16
"""Devices that are best taken together."""


@dataclass(frozen=True, eq=False)
class RowStack:
    """What `devices` devices say.

    Attributes:
        values: Their vectors [devices, n, classes].
        places: The rows that they are for [n], increasing.
        of: How many rows there are.
        answered: Which of them each device answers [devices, n], where not all do; its other values are 0.
    """

    values: Float64Array
    places: IntArray
    of: int
    answered: BoolArray | None = None

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[RowSums]:
        """What each device adds."""
        if self.answered is None:
            return (RowSums.at_places(one, self.places, of=self.of) for one in self.values)
        each = zip(self.values, self.answered, strict=True)
        return (RowSums.at_places(one[own], self.places[own], of=self.of) for one, own in each)

    @property
    def weights(self) -> Float64Array:
        """1 for each row that a device answers [devices, n]."""
        if self.answered is None:
            return np.ones(self.values.shape[:2])
        return self.answered.astype(np.float64)

    def stacked_summands(self) -> dict[str, StackedRows]:
        return {
            "totals": StackedRows((self.of, self.values.shape[2]), self.places, self.values),
            "weights": StackedRows((self.of,), self.places, self.weights),
        }


Parts = RowStack | Sequence[Statistics]
"""What several devices add: each for itself, or side by side."""


def stacks(kind: type, stacked: str, single: str) -> bool:
    """Whether a class's method for a stack is of its method for one device, not of one that was overridden.

    An own class that overrides what is done with one device, and knows of no stacks, is so taken at its word.
    """
    for one in kind.__mro__:
        if stacked in vars(one):
            return True
        if single in vars(one):
            return False
    return False
