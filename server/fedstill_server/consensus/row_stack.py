"""The answers of many devices about the same rows, side by side.

A device's own part (RowSums) is the definition. What is computed of a stack is, bit for bit, what is computed
of each of its parts, in fewer and longer steps; a few devices at a time stay in a processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import Float64Array, IntArray

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
    """

    values: Float64Array
    places: IntArray
    of: int

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[RowSums]:
        """What each device adds."""
        return (RowSums.at_places(one, self.places, of=self.of) for one in self.values)

    def stacked_summands(self) -> dict[str, StackedRows]:
        ones = np.ones(self.values.shape[:2])
        return {
            "totals": StackedRows((self.of, self.values.shape[2]), self.places, self.values),
            "weights": StackedRows((self.of,), self.places, ones),
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
