"""A fold over devices whose result is the same, bit for bit, in whatever order and groups they are added.

Sums of numbers are exact and rounded once (superaccumulator.py); what is no sum of numbers (the norms of a
round, its answers side by side) is put in order once, at the end. So workers fold the devices that they have,
only that travels, and the fleet's consensus is that of a fold over all messages.

    part = ExactFold(zero); part.add(one); ...        in a worker
    whole = ExactFold(zero); whole.merge(part); ...   where the parts come together
    whole.result()

How a kind of statistics is folded is its own to say. It has `summands` and `with_sums` where it is a sum of
arrays, or an `accumulator`. A kind that has neither is added up by its `+`, in the order in which it comes:
`is_exact` is False then, and no part of such a fold can be made elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Generic, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import Float64Array

from fedstill_server.consensus.statistics import Statistics, Sum
from fedstill_server.consensus.superaccumulator import ExactSum

Arrays = Mapping[str, npt.NDArray[Any]]
_DEVICES = "devices"


@runtime_checkable
class SumOfArrays(Protocol):
    """Statistics that are sums of arrays: what most own kinds are."""

    @property
    def devices(self) -> int:
        """How many devices it is a sum of."""
        ...

    def summands(self) -> Mapping[str, npt.NDArray[Any]]:
        """The arrays that are added up, by name; one that is left out counts as 0."""
        ...

    def with_sums(self, sums: Mapping[str, Float64Array], devices: int) -> Self:
        """One of the same kind, of these sums of what `summands` gave; of names that it knows."""
        ...


class StackedRows(NamedTuple):
    """Arrays of several devices side by side, each 0 but at some places of its first axis."""

    shape: tuple[int, ...]  # of a whole one
    places: npt.NDArray[np.int64]  # [n]
    arrays: npt.NDArray[Any]  # [devices, n, ...]


@runtime_checkable
class StackOfArrays(Protocol):
    """Several devices' sums of arrays, side by side."""

    def __len__(self) -> int: ...

    def stacked_summands(self) -> Mapping[str, StackedRows]:
        """What the `summands` of each come to."""
        ...


class Accumulator(Protocol):
    """What statistics of one kind are added up in."""

    @property
    def is_exact(self) -> bool:
        """Whether the result depends neither on the order nor on the groups of what is added."""
        ...

    def add(self, part: Any, /) -> None:
        """Add statistics of the kind."""
        ...

    def merge(self, other: Any, /) -> None:
        """Add all that another accumulator of the kind has."""
        ...

    def result(self) -> Any:
        """The statistics of all that was added."""
        ...

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All there is of it, by name."""
        ...

    def merge_arrays(self, arrays: Arrays, /) -> None:
        """Add what another one's `to_arrays` made arrays of."""
        ...


@runtime_checkable
class WithAccumulator(Protocol):
    """Statistics that say themselves how they are added up."""

    def accumulator(self) -> Accumulator:
        """What statistics like these are added up in, with these added already."""
        ...


def accumulator_of(zero: Any) -> Accumulator:
    """What statistics like `zero` are added up in, with `zero` added already."""
    if isinstance(zero, WithAccumulator):
        return zero.accumulator()
    return ArraySums(zero) if isinstance(zero, SumOfArrays) else InOrder(zero)


@runtime_checkable
class Trims(Protocol):
    """An accumulator that may leave out what other folds make needless; see ExactFold.trim."""

    def trim(self, memory: dict[str, Any], /) -> None:
        """Leave it out, and note what is here."""
        ...


def trim_to(accumulator: Accumulator, memory: dict[str, Any]) -> None:
    """Trim an accumulator of whatever kind."""
    if isinstance(accumulator, Trims):
        accumulator.trim(memory)


class ExactFold(Generic[Sum]):
    """The sum over devices, `zero` being that over none."""

    def __init__(self, zero: Sum) -> None:
        self._accumulator = accumulator_of(zero)

    @staticmethod
    def is_exact(zero: Statistics) -> bool:
        """Whether statistics like `zero` may be folded in parts: the result is the same, bit for bit."""
        return accumulator_of(zero).is_exact

    def add(self, part: Sum) -> None:
        """Add what one device adds."""
        self._accumulator.add(part)

    def add_all(self, parts: Iterable[Any]) -> None:
        """Add what several devices add: each for itself, or side by side."""
        if isinstance(parts, StackOfArrays) and isinstance(self._accumulator, ArraySums):
            self._accumulator.add_stack(parts)
            return
        for part in parts:
            self._accumulator.add(part)

    def merge(self, other: ExactFold[Sum]) -> None:
        """Add all that another fold has, over other devices."""
        self._accumulator.merge(other._accumulator)

    def result(self) -> Sum:
        """The sum over all devices."""
        result: Sum = self._accumulator.result()
        return result

    def trim(self, memory: dict[str, Any]) -> None:
        """Leave out what cannot be in the result of all, and note this fold.

        Where only so many answers are kept, a worker has most of them seen to be left out: fewer travel.

        memory: What was noted of folds of other devices, all of which are merged into the same one.
        """
        trim_to(self._accumulator, memory)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All there is of it, by name, to be merged elsewhere: nothing in it is of a class of its own."""
        return self._accumulator.to_arrays()

    def merge_arrays(self, arrays: Arrays) -> None:
        """Add all that another fold has, which `to_arrays` made arrays of."""
        self._accumulator.merge_arrays(arrays)

    @classmethod
    def from_arrays(cls, zero: Sum, arrays: Arrays) -> ExactFold[Sum]:
        """The fold that `to_arrays` made arrays of, of statistics like `zero`."""
        fold = cls(zero)
        fold.merge_arrays(arrays)
        return fold


class ArraySums:
    """An accumulator of statistics that are sums of arrays."""

    is_exact = True

    def __init__(self, zero: SumOfArrays) -> None:
        self._zero, self._devices = zero, 0
        self._sums: dict[str, ExactSum] = {}
        self.add(zero)

    def add(self, part: SumOfArrays) -> None:
        self._devices += part.devices
        for name, array in part.summands().items():
            self._sum(name, array.shape).add(array)

    def add_stack(self, stack: StackOfArrays) -> None:
        self._devices += len(stack)
        for name, rows in stack.stacked_summands().items():
            self._sum(name, rows.shape).add_at(rows.places, rows.arrays)

    def merge(self, other: ArraySums) -> None:
        self._devices += other._devices
        for name, one in other._sums.items():
            self._sum(name, one.shape).merge(one)

    def result(self) -> Any:
        sums = {name: one.result() for name, one in self._sums.items()}
        return self._zero.with_sums(sums, self._devices)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        sums = {name: one.to_arrays() for name, one in self._sums.items()}
        return {_DEVICES: np.array(self._devices), **flattened(sums)}

    def merge_arrays(self, arrays: Arrays) -> None:
        self._devices += int(arrays[_DEVICES])
        for name, of_one in grouped(arrays).items():
            one = ExactSum.from_arrays(of_one)
            self._sum(name, one.shape).merge(one)

    def _sum(self, name: str, shape: tuple[int, ...]) -> ExactSum:
        if name not in self._sums:
            self._sums[name] = ExactSum(shape)
        return self._sums[name]


class InOrder:
    """An accumulator of any statistics: their own `+`, in the order in which they come."""

    is_exact = False

    def __init__(self, zero: Any) -> None:
        self._total = zero

    def add(self, part: Any) -> None:
        self._total = self._total + part

    def merge(self, other: InOrder) -> None:
        self._total = self._total + other._total

    def result(self) -> Any:
        return self._total

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        raise NotImplementedError(_in_order(self._total))

    def merge_arrays(self, arrays: Arrays) -> None:
        raise NotImplementedError(_in_order(self._total))


def _in_order(total: Any) -> str:
    name = type(total).__name__
    return f"{name}: it has no summands() and with_sums(), so that it can be added up in one place only"


def flattened(parts: Mapping[str, Arrays]) -> dict[str, npt.NDArray[Any]]:
    """Arrays of several parts as those of one: `part|name`."""
    return {f"{part}|{name}": array for part, arrays in parts.items() for name, array in arrays.items()}


def grouped(arrays: Arrays) -> dict[str, dict[str, npt.NDArray[Any]]]:
    """The arrays that `flattened` put together, by part; others are left out."""
    found: dict[str, dict[str, npt.NDArray[Any]]] = {}
    for name, array in arrays.items():
        part, bar, rest = name.rpartition("|")
        if bar:
            found.setdefault(part, {})[rest] = array
    return found
