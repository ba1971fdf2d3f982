"""Arithmetic as a value: multiply-adds of products, and all other operations."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Work:
    """How much a node computes.

    Attributes:
        multiply_adds: Of products of matrices, convolutions, attention and recurrent cells: a factor times
            a factor, added to a sum.
        other: Operations beside them: one for each value that an element-wise function makes, whatever the
            function is, and for each value that a sum or a maximum takes in.
    """

    multiply_adds: int = 0
    other: int = 0

    @property
    def flops(self) -> int:
        """Floating point operations: two of each multiply-add, and the others."""
        return 2 * self.multiply_adds + self.other

    def __add__(self, more: Work) -> Work:
        return Work(multiply_adds=self.multiply_adds + more.multiply_adds, other=self.other + more.other)

    def times(self, count: int) -> Work:
        """The work of doing it so often."""
        return Work(multiply_adds=count * self.multiply_adds, other=count * self.other)
