"""Exact sums of float64 arrays: the same bits in any order and any grouping, as none of them is rounded.

Every number is cut where fixed powers of two, BINS of WIDTH bits, divide it (the indexed sums of Demmel and
Nguyen 2013, "Fast Reproducible Floating-Point Summation"; ReproBLAS: Ahrens, Demmel and Nguyen 2020):

    q_j = (x + 1.5 2^(52 + g_j)) - 1.5 2^(52 + g_j),    x <- x - q_j,    g_j = WIDTH j - 32

q_j is x to the nearest multiple of 2^g_j, both steps are exact, and what is left is at most half of 2^g_j: a
sum of up to 2^(54 - WIDTH) such pieces is exact in float64, too. Before it could not be, what is over goes to
the next bin. Here, unlike there, no bin is ever dropped, so that the bins together are the exact sum (as in
the superaccumulator of Neal 2015, arXiv 1505.05571); it is rounded once, at the end. Numbers of about 1 need
two bins, of which each costs four passes over an array.

Beyond 2^484, and below 2^-484, numbers are scaled by a whole number of bins before and kept apart. What is
not finite makes the sum what it makes a plain one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import Float64Array

WIDTH: Final = 44
_LOWEST: Final = -32  # the exponent of bin 0
_PIECES: Final = 2 ** (53 - WIDTH)  # in a bin, before what is over goes to the next; half of what is exact
_ZONE_BITS: Final = 12 * WIDTH
_LARGEST: Final = 2.0**484
_LAST_BIN: Final = -13  # of a zone: below it nothing is left but of numbers below 2^-484
_BLOCK: Final = 2**14  # numbers that are cut at a time: they stay in a processor's cache
_NOT_FINITE: Final = "not-finite"

_Bin = tuple[int, int]  # its zone, -1, 0 or 1, by which numbers are scaled; and its number there


class ExactSum:
    """The exact sum of arrays of a shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self._size = math.prod(shape)
        self._bins: dict[_Bin, Float64Array] = {}  # [size] each, whole multiples of the bin's unit
        self._pieces = 0  # at most so many in each number of a bin
        self._not_finite: Float64Array | None = None
        self._waiting: Float64Array | None = None  # [rows, size]
        self._rows = 0

    def add(self, array: npt.NDArray[Any]) -> None:
        """Add an array of the shape."""
        if array.shape != self.shape:
            raise ValueError(f"an array of shape {array.shape} is not one of {self.shape}, as the sum is")
        if self._waiting is None:
            self._waiting = np.empty((max(1, min(_PIECES // 2, _BLOCK // max(self._size, 1))), self._size))
        self._waiting[self._rows] = array.reshape(-1)
        self._rows += 1
        if self._rows == len(self._waiting):
            self._add_waiting()

    def add_stack(self, arrays: npt.NDArray[Any]) -> None:
        """Add each of a stack of arrays [n, *shape]."""
        rows = arrays.reshape(len(arrays), self._size).astype(np.float64, copy=False)
        for start in range(0, len(rows), _PIECES // 2):
            self._cut(rows[start : start + _PIECES // 2])

    def add_at(self, places: npt.NDArray[np.int64], arrays: npt.NDArray[Any]) -> None:
        """Add each of a stack of arrays [n, places, ...] that are 0 but at `places` of the first axis."""
        there = ExactSum((len(places), *self.shape[1:]))
        there.add_stack(arrays)
        self.merge_at(places, there)

    def merge_at(self, places: npt.NDArray[np.int64], other: ExactSum) -> None:
        """Add a sum of arrays [places, ...] that are 0 but at `places` of the first axis, each once."""
        other._add_waiting()
        self._make_room(other._pieces)
        for key, units in other._bins.items():
            self._bin(key).reshape(self.shape)[places] += units.reshape(other.shape)
        self._pieces += other._pieces
        if other._not_finite is not None:
            added = np.zeros(self.shape)
            added[places] = other._not_finite.reshape(other.shape)
            self._note_not_finite(added.reshape(-1))

    def merge(self, other: ExactSum) -> None:
        """Add another sum of arrays of the same shape."""
        if other.shape != self.shape:
            raise ValueError(f"a sum of shape {other.shape} is not one of {self.shape}, as this is")
        other._add_waiting()
        self._make_room(other._pieces)
        for key, units in other._bins.items():
            mine = self._bins.get(key)
            self._bins[key] = units.copy() if mine is None else mine + units
        self._pieces += other._pieces
        if other._not_finite is not None:
            self._note_not_finite(other._not_finite)

    def result(self) -> Float64Array:
        """The sum, rounded to the nearest float64, ties to even; infinite where it is beyond all of them."""
        self._add_waiting()
        self._carry()
        total = self._rounded()
        if self._not_finite is not None:
            with np.errstate(invalid="ignore"):
                total = total + self._not_finite
        return total.reshape(self.shape)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All there is of it, by name."""
        self._add_waiting()
        self._carry()
        arrays: dict[str, npt.NDArray[Any]] = {"shape": np.array(self.shape, np.int64)}
        arrays |= {f"{zone}:{place}": units for (zone, place), units in self._bins.items() if units.any()}
        if self._not_finite is not None:
            arrays[_NOT_FINITE] = self._not_finite
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> ExactSum:
        """What `to_arrays` made arrays of."""
        found = cls(tuple(int(size) for size in arrays["shape"]))
        for name, array in arrays.items():
            if name == _NOT_FINITE:
                found._not_finite = array.copy()
            elif name != "shape":
                zone, _, place = name.partition(":")
                found._bins[int(zone), int(place)] = array.copy()
        found._pieces = 1
        return found

    def _add_waiting(self) -> None:
        if self._waiting is not None and self._rows:
            rows, self._rows = self._rows, 0
            self._cut(self._waiting[:rows])

    def _cut(self, rows: Float64Array) -> None:
        """Add rows [n, size], of which there are at most half of _PIECES."""
        self._make_room(len(rows))
        width = max(1, _BLOCK // len(rows))
        for start in range(0, self._size, width):
            within = slice(start, start + width)
            self._cut_block(rows[:, within], within)
        self._pieces += len(rows)

    def _cut_block(self, rows: Float64Array, within: slice) -> None:
        with np.errstate(invalid="ignore"):
            top = max(float(rows.max()), -float(rows.min()))
        if top <= _LARGEST:
            self._cut_zone(rows, top, within, zone=0)
            return
        finite = np.isfinite(rows)
        if not finite.all():
            added = np.zeros(self._size)
            with np.errstate(invalid="ignore"):
                added[within] = np.where(finite, 0.0, rows).sum(axis=0)
            self._note_not_finite(added)
        numbers = np.where(finite, rows, 0.0)
        large = np.abs(numbers) > _LARGEST
        for zone, part in ((1, np.where(large, numbers, 0.0)), (0, np.where(large, 0.0, numbers))):
            scaled = np.ldexp(part, -_ZONE_BITS * zone)
            self._cut_zone(scaled, float(np.abs(scaled).max()), within, zone=zone)

    def _cut_zone(self, rows: Float64Array, top: float, within: slice, *, zone: int) -> None:
        """Cut rows [n, m], none of them beyond `top`, and add the pieces to the bins."""
        if top == 0:
            return
        # The first bin in which the largest number is at most half as much as the bin above counts in.
        place = math.ceil((math.frexp(top)[1] - _LOWEST - (WIDTH - 1)) / WIDTH)
        left, pieces = rows.copy(), np.empty_like(rows)
        while True:
            magic = math.ldexp(1.5, 52 + _LOWEST + WIDTH * place)
            np.add(left, magic, out=pieces)
            np.subtract(pieces, magic, out=pieces)
            np.subtract(left, pieces, out=left)
            self._bin((zone, place))[within] += pieces[0] if len(pieces) == 1 else pieces.sum(axis=0)
            if not left.any():
                return
            place -= 1
            if place < _LAST_BIN and zone >= 0:
                left = np.ldexp(left, _ZONE_BITS)
                self._cut_zone(left, float(np.abs(left).max()), within, zone=zone - 1)
                return

    def _bin(self, key: _Bin) -> Float64Array:
        if key not in self._bins:
            self._bins[key] = np.zeros(self._size)
        return self._bins[key]

    def _note_not_finite(self, added: Float64Array) -> None:
        with np.errstate(invalid="ignore"):
            before = self._not_finite
            self._not_finite = added.copy() if before is None else before + added

    def _make_room(self, pieces: int) -> None:
        if self._pieces + pieces > _PIECES:
            self._carry()

    def _carry(self) -> None:
        """What is over in a bin goes to the next: at most half a unit of that is left."""
        for zone in sorted({zone for zone, _ in self._bins}):
            place = min(place for one, place in self._bins if one == zone)
            while place <= max(one for of, one in self._bins if of == zone):
                units = self._bins.get((zone, place))
                if units is not None:
                    magic = math.ldexp(1.5, 52 + _LOWEST + WIDTH * (place + 1))
                    over = (units + magic) - magic
                    if over.any():
                        units -= over
                        self._bin((zone, place + 1))[...] += over
                place += 1
        self._pieces = 1

    def _rounded(self) -> Float64Array:
        """The sum of all bins, each at most half a unit of the next."""
        total, unsure = _added([self._bins[0, place] for place in self._places(0)], self._size)
        for key, units in self._bins.items():
            if key[0] != 0:
                unsure |= units != 0
        for at in np.flatnonzero(unsure):
            total[at] = self._one_rounded(int(at))
        return total

    def _places(self, zone: int) -> Iterator[int]:
        """The bins of a zone, the largest first."""
        return iter(sorted((place for one, place in self._bins if one == zone), reverse=True))

    def _one_rounded(self, at: int) -> float:
        if all(zone == 0 for zone, _ in self._bins):
            return math.fsum(units[at] for units in self._bins.values())
        bins = self._bins.items()
        whole = sum(Fraction(units[at]) * Fraction(2) ** (_ZONE_BITS * zone) for (zone, _), units in bins)
        try:
            return float(whole)
        except OverflowError:
            return math.inf if whole > 0 else -math.inf


def _added(parts: list[Float64Array], size: int) -> tuple[Float64Array, npt.NDArray[np.bool_]]:
    """The sum of parts [size], each at most half a unit of the one before it, and where it may be wrong.

    The first two are added with their error (TwoSum: Knuth 1969), which the others follow. Where the sum is
    the same with all of that a little smaller and a little larger, it is rounded correctly.
    """
    if not parts:
        return np.zeros(size), np.zeros(size, np.bool_)
    first, rest = parts[0], parts[1:]
    if not rest:
        return first + 0.0, np.zeros(size, np.bool_)
    total = first + rest[0]
    if len(rest) == 1:
        return total, np.zeros(size, np.bool_)
    back = total - first
    error = (first - (total - back)) + (rest[0] - back)
    tail = np.zeros(size)
    for part in reversed(rest[1:]):
        tail += part
    after = error + tail
    slack = 4 * np.finfo(np.float64).eps * (np.abs(error) + np.abs(tail))
    least, most = total + (after - slack), total + (after + slack)
    return least, least != most
