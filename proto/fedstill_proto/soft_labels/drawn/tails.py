"""The k likeliest classes exactly, and a tail of which m classes are drawn (Anshumann et al. 2025, "Sparse
logit sampling", arXiv 2503.16870).

Of a soft label p, the tail is all but the k likeliest classes, and r its probability. m draws of the tail,
each with the chance p_c / r, stand for r / m each: t_c = r n_c / m of a class that is drawn n_c times, and of
the likeliest t_c = p_c. A draw's importance weight p_c / (m p_c / r) is the same for all, so that

    E[t_c] = p_c of every class,    sum_c t_c = 1,    E[-sum_c t_c log q_c] = -sum_c p_c log q_c

and as the loss is linear in t, so is its gradient: a student learns the whole soft label, on average, of
k + m numbers. A top-k that is scaled to add up to 1 teaches that all others are impossible instead, and one
with a bucket for the rest says nothing of which others.

The draws of a row are systematic (Madow 1949): one number u, uniform from 0 to 1, and the places u, u + 1,
..., u + m - 1 on the tail's cumulative m p_c / r. A class is then drawn as often as m p_c / r says, rounded
down or up, and never twice where it says less than 1.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from fedstill_proto.arrays import Float64Array, FloatArray, IntArray
from fedstill_proto.errors import InvalidValue
from fedstill_proto.soft_labels.gaussian import GaussianSoftLabels
from fedstill_proto.soft_labels.label_arrays import (
    DenseSoftLabels,
    SoftLabels,
    TopKSoftLabels,
    check_indices,
    check_probabilities,
    check_sums,
    keep_top_k,
)

UNIFORMS = 2
"""Random numbers of a row: where its draws begin, and how its probabilities are rounded."""
_CELLS_AT_ONCE = 1 << 22
_WHOLE = 1e-5  # a rest below this is rounding


@dataclass(frozen=True, eq=False)
class DrawnTails:
    """Soft labels as their likeliest classes and draws of the others.

    Attributes:
        indices: The likeliest classes of each row [rows, k], increasing.
        probabilities: Theirs [rows, k].
        draws: Classes of the tail [rows, m], never falling within a row; each stands for an m-th of the rest.
        classes: How many there are.
        uniforms: What the rows' probabilities are rounded by [rows], from 0 up to, and without, 1.
    """

    indices: IntArray
    probabilities: FloatArray
    draws: IntArray
    classes: int
    uniforms: Float64Array

    def __post_init__(self) -> None:
        check_probabilities(self.probabilities)
        check_indices(self.indices, self.probabilities.shape, self.classes)
        check_sums(self.probabilities, at_most=self.draws.shape[1] > 0)
        draws = self.draws
        if draws.shape[:1] != self.indices.shape[:1] or draws.dtype != np.int64:
            raise InvalidValue("draws", "not an int64 array with a row for each soft label")
        if draws.size and not (draws.min() >= 0 and draws.max() < self.classes):
            raise InvalidValue("draws", f"{draws.min()} to {draws.max()} is not in 0 to {self.classes - 1}")
        if (draws[:, 1:] < draws[:, :-1]).any():
            raise InvalidValue("draws", "falling within a row")

    @property
    def rows(self) -> int:
        return len(self.indices)

    @property
    def rest(self) -> FloatArray:
        """What all draws of a row stand for together [rows]."""
        rest: FloatArray = np.clip(1 - np.add.reduce(self.probabilities, axis=1), 0, 1)
        return rest

    def dense(self) -> FloatArray:
        """[rows, classes]; 0 where nothing was drawn."""
        return self.named().dense()

    def named(self) -> TopKSoftLabels:
        """The same as k + m different classes that add up to 1.

        A class that was drawn more than once has all its draws' probability, and the lowest classes that a
        row does not name fill their places, with a probability of 0.
        """
        rows, drawn = self.draws.shape
        if drawn == 0:
            return TopKSoftLabels(self.indices, self.probabilities, self.classes)
        again = np.zeros(self.draws.shape, np.bool_)
        again[:, 1:] = self.draws[:, 1:] == self.draws[:, :-1]
        group = np.cumsum(~again, axis=1) - 1  # of each draw, the place of its class among those drawn
        counts = np.zeros((rows, drawn))
        np.add.at(counts, (np.arange(rows)[:, None], group), 1)
        weights = np.take_along_axis(counts, group, axis=1) * (self.rest / np.float32(drawn))[:, None]
        weights[again] = 0
        classes = np.where(again, self._unnamed(again), self.draws)
        indices = np.concatenate([self.indices, classes], axis=1)
        order = np.argsort(indices, axis=1, kind="stable")
        both = np.concatenate([self.probabilities, weights.astype(np.float32)], axis=1)
        return TopKSoftLabels(
            np.take_along_axis(indices, order, axis=1), np.take_along_axis(both, order, axis=1), self.classes
        )

    def _unnamed(self, again: np.ndarray) -> IntArray:
        """A class of its own for each place of `again` [rows, m] that is true, not named in its row."""
        rows, drawn = again.shape
        low = min(self.classes, self.indices.shape[1] + 2 * drawn)  # so many hold enough
        free = np.ones((rows, low), np.bool_)
        for named in (self.indices, self.draws):
            row, place = np.nonzero(named < low)
            free[row, named[row, place]] = False
        nth = np.cumsum(free, axis=1) * free  # 1 for the first class that is free
        filler = np.zeros((rows, drawn + 1), np.int64)
        row, place = np.nonzero((nth > 0) & (nth <= drawn))
        filler[row, nth[row, place]] = place
        return np.take_along_axis(filler, np.cumsum(again, axis=1), axis=1)


def with_drawn_tails(
    labels: FloatArray | SoftLabels | DrawnTails, *, k: int, drawn: int, seed: int | None = None
) -> DrawnTails:
    """The k likeliest classes of each row, and draws of the others.

    Args:
        labels: Probabilities [rows, classes], or soft labels. What top-k ones leave is spread evenly.
        k: How many classes stay as they are; all where there are fewer.
        drawn: How many draws; none where k are all.
        seed: Of the draws. None makes them of the likeliest classes themselves: the same soft label has the
            same draws wherever it is met, and others of its row have others.
    """
    if isinstance(labels, DrawnTails):
        return labels
    if isinstance(labels, np.ndarray):
        labels = DenseSoftLabels(labels)
    if isinstance(labels, GaussianSoftLabels):
        raise InvalidValue("encoding", "drawn tails are for classes, not for numbers")
    random = None if seed is None else np.random.default_rng(seed)
    parts = []
    whole = (
        isinstance(labels, TopKSoftLabels) and bool((labels.rest < _WHOLE).all()) and labels.k >= k + drawn
    )
    width = labels.k if whole and isinstance(labels, TopKSoftLabels) else labels.classes
    at_once = max(1, _CELLS_AT_ONCE // width)
    for start in range(0, max(labels.rows, 1), at_once):
        rows = slice(start, start + at_once)
        if whole and isinstance(labels, TopKSoftLabels):
            parts.append(
                _drawn(labels.probabilities[rows], labels.indices[rows], labels.classes, k, drawn, random)
            )
        elif isinstance(labels, TopKSoftLabels):
            spread = TopKSoftLabels(labels.indices[rows], labels.probabilities[rows], labels.classes).dense()
            parts.append(_drawn(spread, None, labels.classes, k, drawn, random))
        else:
            parts.append(_drawn(labels.probabilities[rows], None, labels.classes, k, drawn, random))
    if len(parts) == 1:
        return parts[0]
    return DrawnTails(
        np.concatenate([part.indices for part in parts]),
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([part.draws for part in parts]),
        labels.classes,
        np.concatenate([part.uniforms for part in parts]),
    )


def narrowed(
    names: IntArray, chances: FloatArray, *, classes: int, k: int, drawn: int, seed: int
) -> TopKSoftLabels:
    """Named classes that are too many, as k of them and draws of the others.

    Args:
        names: Different classes of each row [rows, n], increasing; those of chance 0 may be anything.
        chances: Theirs, which add up to 1.
        classes: How many there are.
        k: How many of them stay as they are.
        drawn: How many draws.
        seed: Of the draws.
    """
    return _drawn(chances, names, classes, k, drawn, np.random.default_rng(seed)).named()


def _drawn(
    cells: FloatArray,
    names: IntArray | None,
    classes: int,
    k: int,
    drawn: int,
    random: np.random.Generator | None,
) -> DrawnTails:
    """Of cells [rows, n] with the class numbers `names` [rows, n], or 0 to n - 1."""
    kept = keep_top_k(_cells(cells), k)
    likeliest = kept.indices if names is None else np.take_along_axis(names, kept.indices, axis=1)
    uniforms = (
        _uniforms(likeliest, kept.probabilities) if random is None else random.random((len(cells), UNIFORMS))
    )
    drawn = min(drawn, classes - kept.k)
    tail = cells.astype(np.float64)
    np.put_along_axis(tail, kept.indices, 0, axis=1)
    places = _systematic(tail, drawn, uniforms[:, 0])
    empty = tail.sum(axis=1) <= 0 if drawn else np.zeros(len(cells), np.bool_)
    draws = places if names is None else np.take_along_axis(names, places, axis=1)
    if empty.any():  # nothing to draw: the first class that is not kept, with a rest of 0
        draws[empty] = _first_unkept(likeliest[empty])[:, None]
    return DrawnTails(likeliest, kept.probabilities, draws, classes, uniforms[:, 1])


def _cells(cells: FloatArray) -> DenseSoftLabels:
    """Rows that need not add up to exactly 1 as `keep_top_k` takes them."""
    labels = object.__new__(DenseSoftLabels)
    object.__setattr__(labels, "probabilities", cells)
    return labels


def _systematic(tail: Float64Array, drawn: int, uniforms: Float64Array) -> IntArray:
    """Places [rows, drawn] in the rows of `tail` [rows, n], each as often as its share of the row says."""
    rows, cells = tail.shape
    if drawn == 0 or rows == 0:
        return np.zeros((rows, drawn), np.int64)
    reached = np.cumsum(tail, axis=1)
    total = reached[:, -1:]
    reached *= drawn / np.where(total > 0, total, 1)
    # One search for all rows: those of a row lie between its number times what no row reaches.
    apart = drawn + 1.0
    reached += apart * np.arange(rows)[:, None]
    wanted = uniforms[:, None] + np.arange(drawn) + apart * np.arange(rows)[:, None]
    places = np.searchsorted(reached.reshape(-1), wanted, side="right") - cells * np.arange(rows)[:, None]
    last = cells - 1 - np.argmax(tail[:, ::-1] > 0, axis=1)  # rounding may leave the sum just short
    return np.asarray(np.minimum(places, last[:, None]))


def _first_unkept(likeliest: IntArray) -> IntArray:
    """The lowest class [rows] that is not among increasing ones [rows, k]."""
    return np.asarray((likeliest == np.arange(likeliest.shape[1])).cumprod(axis=1).sum(axis=1))


def _uniforms(indices: IntArray, probabilities: FloatArray) -> Float64Array:
    """Numbers [rows, 2] from 0 to 1, made of the likeliest classes of each row."""
    found = np.empty((len(indices), UNIFORMS))
    for row, (names, said) in enumerate(zip(indices.astype("<i8"), probabilities.astype("<f4"), strict=True)):
        digest = hashlib.blake2b(names.tobytes() + said.tobytes(), digest_size=8 * UNIFORMS).digest()
        found[row] = (np.frombuffer(digest, "<u8") >> np.uint64(11)) * 2.0**-53
    return found
