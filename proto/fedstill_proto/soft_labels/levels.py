"""Soft labels on a grid of 2**bits levels: whole numbers, which both sides hold exactly alike.

The buckets of a row are its classes, or the k likeliest and a rest bucket for all others. Two grids:

- SHARES: a row is cut into n = 2**bits - 1 equal shares (see largest_remainder.py), p = code / n, and the
  codes add up to n. This is the constrained quantization of CFD (Sattler et al. 2021, arXiv 2012.00632): the
  nearest of all rows of multiples of 1/n that add up to 1. With one bit it is the likeliest class.
- LOG: code = round(log(p_max / p) / step), at most n = 2**bits - 1, with step = LOG_RANGE / n: the distance
  to the likeliest bucket in equal steps of the logarithm, p = exp(-step * code) / sum. Small probabilities
  stay apart that SHARES makes all 0, and large ones come nearer to each other.
"""

from __future__ import annotations

import enum
import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedstill_proto.arrays import FloatArray, IntArray, largest_of_rows, smallest_of_rows
from fedstill_proto.errors import InvalidValue
from fedstill_proto.soft_labels.label_arrays import (
    DenseSoftLabels,
    SoftLabels,
    TopKSoftLabels,
    check_indices,
    keep_top_k,
    split_labels,
    together_in_parts,
)
from fedstill_proto.soft_labels.largest_remainder import dequantize, quantize

CodeArray = npt.NDArray[np.uint8]

MAX_BITS = 8
NAME_BYTES = 8  # so much of a digest names levels on the wire
LOG_RANGE = math.log(2 * 255)  # what half of the smallest share of 8 bits is below 1


class Grid(enum.Enum):
    """What the levels of a code are; the values are the names used in configurations."""

    SHARES = "shares"
    LOG = "log"


@dataclass(frozen=True, eq=False)
class Levels:
    """Soft labels as codes.

    Attributes:
        codes: [rows, buckets], 0 to 2**bits - 1; where classes are kept, the last bucket is the rest.
        classes: How many classes a row is about.
        bits: The bits of a code.
        grid: What a code stands for.
        indices: The kept classes of each row [rows, k], which increase; None where all are kept.
    """

    codes: CodeArray
    classes: int
    bits: int
    grid: Grid
    indices: IntArray | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.bits, int) and 1 <= self.bits <= MAX_BITS):
            raise InvalidValue("bits", f"{self.bits!r} is not 1 to {MAX_BITS}")
        if self.codes.dtype != np.uint8 or self.codes.ndim != 2:
            raise InvalidValue("codes", "not a uint8 array [rows, buckets]")
        rows, buckets = self.codes.shape
        if buckets != buckets_of(self.classes, self.k):
            raise InvalidValue("codes", f"{buckets} buckets in a row for {self.k or self.classes} classes")
        if self.indices is not None:
            check_indices(self.indices, (rows, buckets - 1), self.classes)
        if self.grid is Grid.SHARES:
            _check_shares(self.codes, self.top)
        elif rows and int(self.codes.max()) > self.top:
            raise InvalidValue("codes", f"{self.codes.max()} is more than {self.top}")
        elif rows and (least := smallest_of_rows(self.codes)).any():
            row = int(np.argmax(least))
            raise InvalidValue("codes", f"row {row} has no likeliest bucket, of code 0")

    @property
    def rows(self) -> int:
        return int(self.codes.shape[0])

    @property
    def k(self) -> int:
        """Classes kept in a row; 0 where all are."""
        return 0 if self.indices is None else int(self.indices.shape[1])

    @property
    def top(self) -> int:
        """The largest code."""
        return (1 << self.bits) - 1

    def checked(self) -> Levels:
        """The same; raises InvalidValue where it holds what no levels hold."""
        return Levels(self.codes, self.classes, self.bits, self.grid, self.indices)

    def of_rows(self, rows: IntArray) -> Levels:
        """The levels of these rows [n], in this order."""
        indices = None if self.indices is None else self.indices[rows]
        return Levels(self.codes[rows], self.classes, self.bits, self.grid, indices)

    def followed_by(self, other: Levels) -> Levels:
        """These rows, then those of `other`, which is like this."""
        indices = None
        if self.indices is not None and other.indices is not None:
            indices = np.concatenate([self.indices, other.indices])
        codes = np.concatenate([self.codes, other.codes])
        return Levels(codes, self.classes, self.bits, self.grid, indices)

    def split(self, counts: Iterable[int]) -> list[Levels]:
        """The levels in parts of so many rows each."""
        parts, start = [], 0
        for count in counts:
            rows = slice(start, start + count)
            indices = None if self.indices is None else self.indices[rows]
            parts.append(unchecked_levels(self.codes[rows], self.classes, self.bits, self.grid, indices))
            start += count
        return parts

    def is_like(self, other: Levels) -> bool:
        """Whether the two differ in their rows only."""
        own, others = ((levels.classes, levels.k, levels.bits, levels.grid) for levels in (self, other))
        return own == others

    def soft_labels(self) -> SoftLabels:
        """The distributions that the codes stand for."""
        if self.grid is Grid.SHARES:
            probabilities = dequantize(self.codes, shares=self.top)
        else:
            table = np.exp(-np.arange(self.top + 1) * (LOG_RANGE / self.top)).astype(np.float32)
            powers = table[self.codes]
            probabilities = powers / np.add.reduce(powers, axis=1, keepdims=True)
        if self.indices is None:
            return DenseSoftLabels(probabilities)
        return TopKSoftLabels(self.indices, np.ascontiguousarray(probabilities[:, : self.k]), self.classes)

    def digest(self) -> bytes:
        """What names this content: SHA-256 of all of it."""
        header = f"levels:{self.bits}:{self.grid.value}:{self.rows}:{self.classes}:{self.k};"
        parts = [header.encode(), self.codes.tobytes()]
        if self.indices is not None:
            parts.append(self.indices.astype("<i8").tobytes())
        return hashlib.sha256(b"".join(parts)).digest()

    def name(self) -> bytes:
        """The digest's beginning, which stands for it on the wire."""
        return self.digest()[:NAME_BYTES]


def unchecked_levels(
    codes: CodeArray, classes: int, bits: int, grid: Grid, indices: IntArray | None = None
) -> Levels:
    """Levels that are known to be some, or are checked later, without a look at the codes."""
    levels = object.__new__(Levels)
    for name, value in (("codes", codes), ("classes", classes), ("bits", bits), ("grid", grid)):
        object.__setattr__(levels, name, value)
    object.__setattr__(levels, "indices", indices)
    return levels


def joined_levels(parts: Sequence[Levels]) -> Levels:
    """The rows of all parts, which are alike and at least one, one after another."""
    first = parts[0]
    if len(parts) == 1:
        return first
    indices = None
    if first.indices is not None:
        indices = np.concatenate([part.indices for part in parts if part.indices is not None])
    codes = np.concatenate([part.codes for part in parts])
    return unchecked_levels(codes, first.classes, first.bits, first.grid, indices)


def soft_labels_of(levels: Sequence[Levels]) -> list[SoftLabels]:
    """The distributions that the codes of each device stand for."""
    labels: list[SoftLabels | None] = [None] * len(levels)
    kinds = [(one.classes, one.k, one.bits, one.grid) for one in levels]
    for places in together_in_parts([one.codes.size for one in levels], kinds):
        together = joined_levels([levels[place] for place in places]).soft_labels()
        parts = split_labels(together, [levels[place].rows for place in places])
        for place, part in zip(places, parts, strict=True):
            labels[place] = part
    return [one for one in labels if one is not None]


def buckets_of(classes: int, k: int) -> int:
    """Buckets of a row; k is 0 where all classes are kept."""
    return k + 1 if k else classes


def quantized(labels: SoftLabels, *, k: int, bits: int, grid: Grid) -> Levels:
    """The nearest rows on a grid.

    A probability errs by less than 1 / (2**bits - 1) in SHARES; in LOG, log(p_max / p) errs by at most
    half a step where it is at most LOG_RANGE, and counts as LOG_RANGE beyond.

    Args:
        labels: The soft labels.
        k: How many classes are kept; all where it is 0 or not below their number.
        bits: The bits of a code.
        grid: What a code stands for.
    """
    indices = None
    if 0 < k < labels.classes:
        kept = keep_top_k(labels, k)
        indices = kept.indices
        buckets = np.concatenate([kept.probabilities, kept.rest[:, None]], axis=1)  # [rows, k+1]
    else:
        buckets = labels.dense()
    top = (1 << bits) - 1
    codes = quantize(buckets, shares=top) if grid is Grid.SHARES else _log_codes(buckets, top)
    return Levels(codes, labels.classes, bits, grid, indices)


def _log_codes(buckets: FloatArray, top: int) -> CodeArray:
    least = np.exp(-2 * LOG_RANGE)  # far below the range, and not 0
    steps = buckets.astype(np.float64)
    np.maximum(steps, least, out=steps)
    np.log(steps, out=steps)
    np.subtract(largest_of_rows(steps), steps, out=steps)
    steps *= top / LOG_RANGE
    np.rint(steps, out=steps)
    codes: CodeArray = np.minimum(steps, top, out=steps).astype(np.uint8)
    return codes


def _check_shares(codes: CodeArray, shares: int) -> None:
    sums = np.add.reduce(codes, axis=1, dtype=np.int64)
    if (sums != shares).any():
        row = int(np.argmax(sums != shares))
        raise InvalidValue("codes", f"row {row} adds up to {sums[row]} of {shares} shares")
