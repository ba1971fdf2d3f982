"""Soft labels in numpy: dense, or the top k classes and a rest bucket; each is checked when it is made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.errors import InvalidValue
from fedstill_proto.soft_labels.gaussian import GaussianSoftLabels

# How far a float row may add up beside 1; float32 softmax over a million classes stays well inside.
ROW_SUM_TOLERANCE = 1e-3
_MOST_TOGETHER = 64  # devices
ROWS_TOGETHER = 1 << 15  # numbers of what is done row by row


@dataclass(frozen=True, eq=False)
class DenseSoftLabels:
    """A probability for each class: `probabilities` [rows, classes]."""

    probabilities: FloatArray

    def __post_init__(self) -> None:
        check_probabilities(self.probabilities)
        if self.classes < 1:
            raise InvalidValue("probabilities", "no classes")
        check_sums(self.probabilities)

    @property
    def rows(self) -> int:
        return int(self.probabilities.shape[0])

    @property
    def classes(self) -> int:
        return int(self.probabilities.shape[1])

    def dense(self) -> FloatArray:
        """[rows, classes]"""
        return self.probabilities


@dataclass(frozen=True, eq=False)
class TopKSoftLabels:
    """The k likeliest classes of each row; what they leave of 1 is the rest bucket.

    `indices` [rows, k] increase within a row; `probabilities` [rows, k] belong to them.
    """

    indices: IntArray
    probabilities: FloatArray
    classes: int

    def __post_init__(self) -> None:
        check_probabilities(self.probabilities)
        check_indices(self.indices, self.probabilities.shape, self.classes)
        check_sums(self.probabilities, at_most=self.k < self.classes)

    @property
    def rows(self) -> int:
        return int(self.probabilities.shape[0])

    @property
    def k(self) -> int:
        return int(self.probabilities.shape[1])

    @property
    def rest(self) -> FloatArray:
        """Probability of all other classes together, [rows]."""
        rest: FloatArray = np.clip(1 - np.add.reduce(self.probabilities, axis=1), 0, 1)
        return rest

    def dense(self) -> FloatArray:
        """[rows, classes], the rest spread evenly over the classes that are not among the k."""
        others = max(self.classes - self.k, 1)
        dense = np.repeat((self.rest / np.float32(others))[:, None], self.classes, axis=1)
        np.put_along_axis(dense, self.indices, self.probabilities, axis=1)
        return dense


SoftLabels = DenseSoftLabels | TopKSoftLabels | GaussianSoftLabels


def keep_top_k(labels: SoftLabels, k: int) -> TopKSoftLabels:
    """The k likeliest classes of each row, or all where there are fewer."""
    k = min(k, labels.classes)
    if isinstance(labels, TopKSoftLabels) and labels.k == k:
        return labels
    dense = labels.dense()
    indices = _largest(dense, k)
    return TopKSoftLabels(indices, np.take_along_axis(dense, indices, axis=1), labels.classes)


def _largest(dense: FloatArray, k: int) -> IntArray:
    """The places [rows, k] of each row's largest, increasing.

    The first of two equally likely classes is kept, on every machine: a partition alone does not decide it.
    """
    rows, classes = dense.shape
    least = np.partition(dense, classes - k, axis=1)[:, classes - k, None]  # [rows, 1]
    kept = dense > least
    room = k - kept.sum(axis=1, keepdims=True)
    level = dense == least
    crowded = np.flatnonzero(level.sum(axis=1) > room[:, 0])
    level[crowded] &= np.cumsum(level[crowded], axis=1) <= room[crowded]
    return np.nonzero(kept | level)[1].reshape(rows, k).astype(np.int64)


def unchecked_dense(probabilities: FloatArray) -> DenseSoftLabels:
    """Labels whose rows are known to be distributions, without summing them once more."""
    labels = object.__new__(DenseSoftLabels)
    object.__setattr__(labels, "probabilities", probabilities)
    return labels


def unchecked_top_k(indices: IntArray, probabilities: FloatArray, classes: int) -> TopKSoftLabels:
    """The same of the likeliest classes: labels of whose rows it is known."""
    labels = object.__new__(TopKSoftLabels)
    object.__setattr__(labels, "indices", indices)
    object.__setattr__(labels, "probabilities", probabilities)
    object.__setattr__(labels, "classes", classes)
    return labels


def joined_labels(parts: Sequence[SoftLabels]) -> SoftLabels:
    """The rows of all parts, one after another; there is a part, and all are alike but for their rows."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, TopKSoftLabels):
        kept = [part for part in parts if isinstance(part, TopKSoftLabels)]
        return unchecked_top_k(
            np.concatenate([part.indices for part in kept]),
            np.concatenate([part.probabilities for part in kept]),
            first.classes,
        )
    rows = np.concatenate([part.dense() for part in parts])
    return GaussianSoftLabels(rows) if isinstance(first, GaussianSoftLabels) else unchecked_dense(rows)


def split_labels(labels: SoftLabels, counts: Iterable[int]) -> list[SoftLabels]:
    """The labels in parts of so many rows each, without another look at them."""
    parts: list[SoftLabels] = []
    start = 0
    for count in counts:
        rows = slice(start, start + count)
        if isinstance(labels, TopKSoftLabels):
            parts.append(unchecked_top_k(labels.indices[rows], labels.probabilities[rows], labels.classes))
        elif isinstance(labels, GaussianSoftLabels):
            parts.append(GaussianSoftLabels(labels.values[rows]))
        else:
            parts.append(unchecked_dense(labels.probabilities[rows]))
        start += count
    return parts


def labels_kind(labels: SoftLabels) -> tuple[type, int, int]:
    """What is the same of labels whose rows can be joined."""
    return type(labels), labels.classes, labels.k if isinstance(labels, TopKSoftLabels) else 0


def together_in_parts(
    sizes: Sequence[int], kinds: Sequence[object], *, numbers: int = ROWS_TOGETHER
) -> Iterator[list[int]]:
    """Places of what is of one kind, in parts that are worth being worked on together.

    Work on many devices at once shares what numpy takes for each step, as long as the arrays stay in a
    processor's cache.

    Args:
        sizes: How many numbers each has.
        kinds: What is the same of those that can be worked on together.
        numbers: How many numbers are worth it.
    """
    parts: dict[object, list[int]] = {}
    held: dict[object, int] = {}
    for place, (size, kind) in enumerate(zip(sizes, kinds, strict=True)):
        part = parts.setdefault(kind, [])
        if part and (len(part) == _MOST_TOGETHER or held[kind] + size > numbers):
            yield part
            part = parts[kind] = []
        held[kind] = size + (held[kind] if part else 0)
        part.append(place)
    yield from parts.values()


def check_probabilities(probabilities: FloatArray) -> None:
    """Raise InvalidValue unless these are float32 [rows, classes] of 0 and more."""
    is_array = isinstance(probabilities, np.ndarray)
    if not is_array or probabilities.dtype != np.float32 or probabilities.ndim != 2:
        raise InvalidValue("probabilities", "not a float32 array [rows, classes]")
    # NaN compares false, so it fails here too; infinity fails in the sums.
    if probabilities.size and not probabilities.min() >= 0:
        raise InvalidValue("probabilities", f"{probabilities.min()} is not in 0 to 1")


def check_sums(
    probabilities: FloatArray, *, tolerance: float = ROW_SUM_TOLERANCE, at_most: bool = False
) -> None:
    """Raise InvalidValue unless each row adds up to 1, or to at most 1 with `at_most`."""
    sums = np.add.reduce(probabilities, axis=1)
    low = -tolerance if at_most else 1 - tolerance
    good = (sums >= low) & (sums <= 1 + tolerance)
    if not good.all():
        row = int(np.argmin(good))
        raise InvalidValue("probabilities", f"row {row} adds up to {sums[row]}, not to 1")


def check_indices(indices: IntArray, shape: tuple[int, ...], classes: int) -> None:
    """Raise InvalidValue unless these are class numbers that increase within a row, int64 of this shape."""
    if not isinstance(indices, np.ndarray) or indices.dtype != np.int64 or indices.shape != shape:
        raise InvalidValue("indices", "not an int64 array with an index for each probability")
    if not 1 <= shape[1] <= classes:
        raise InvalidValue("indices", f"{shape[1]} kept of {classes} classes")
    if indices.size and not (indices.min() >= 0 and indices.max() < classes):
        raise InvalidValue("indices", f"{indices.min()} to {indices.max()} is not in 0 to {classes - 1}")
    if (indices[:, 1:] <= indices[:, :-1]).any():
        raise InvalidValue("indices", "not increasing within a row")
