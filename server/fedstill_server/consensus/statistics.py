"""What is folded over devices, of whatever kind."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import numpy.typing as npt

Sum = TypeVar("Sum", bound="Statistics")


class Statistics(Protocol):
    """A sum over devices. An own method may fold an own kind: a frozen dataclass with these members.

    With `summands` and `with_sums` besides (exact_sum.py) it is the same however devices are grouped, so that
    a simulator's workers may fold what they have.
    """

    @property
    def devices(self) -> int:
        """How many devices it is a sum of."""
        ...

    def __add__(self: Sum, other: Sum, /) -> Sum: ...

    def weighted(self: Sum, weight: float, /) -> Sum:
        """The sum with each device counting `weight` times (0 to 1) in a mean; `devices` stays the same."""
        ...

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What was summed, by name: for digests."""
        ...
