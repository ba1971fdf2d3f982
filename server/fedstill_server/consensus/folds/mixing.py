"""Which answers are nearest to each, and their means: what `nearest` and `vetted` take the most time for.

The distances of n answers of d numbers come of products of matrices,

    |a - b|^2 = |a|^2 + |b|^2 - 2 a b,

whose rounding is at most E = 4 (d + 64) u (|a|^2 + |b|^2), u = 2^-53 (Higham 2002, "Accuracy and Stability of
Numerical Algorithms", 3.1). They only say the order: where two distances from one answer are so near that
rounding could have changed it, they are computed term by term (`distances`), and answers at the same distance
stay in their order. So the neighbours, and the order in which they are added up, are those of all distances
term by term, which would take n^2 d steps of memory.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import Float64Array, IntArray

_COLUMNS = 64  # that are added up at a time: those of all answers stay in a processor's cache


def distances(answers: Float64Array, one: Float64Array) -> Float64Array:
    """The mean squared distances [n] of answers [n, m, K] from one [m, K]; infinite where they share none."""
    squares = (answers - one) ** 2
    both = ~np.isnan(squares)
    sums = np.where(both, squares, 0).sum(axis=(1, 2))
    return np.where(both.any(axis=(1, 2)), sums / np.maximum(both.sum(axis=(1, 2)), 1), np.inf)


def nearest(answers: Float64Array) -> IntArray:
    """The order [n, n] of all answers [n, m, K] by their distance from each, itself first, NaN left out."""
    flat = answers.reshape(len(answers), -1)
    said = ~np.isnan(flat)
    with np.errstate(over="ignore", invalid="ignore"):
        apart, error = _by_products(flat, said)
    np.fill_diagonal(apart, -1)  # a device is nearest to itself
    np.fill_diagonal(error, 0)
    order = np.argsort(apart, axis=1, kind="stable")
    # The places after which all is further away, whatever the rounding.
    most = np.maximum.accumulate(np.take_along_axis(apart + error, order, axis=1), axis=1)
    least = np.take_along_axis(apart - error, order, axis=1)
    least = np.minimum.accumulate(least[:, ::-1], axis=1)[:, ::-1]
    sure = (most[:, :-1] < least[:, 1:]) | np.isposinf(least[:, 1:])
    for row in np.flatnonzero(~sure.all(axis=1)):
        order[row] = _settled(answers, int(row), order[row], sure[row])
    return order


def _by_products(flat: Float64Array, said: npt.NDArray[np.bool_]) -> tuple[Float64Array, Float64Array]:
    """The distances [n, n] of answers [n, d], and by how much they may be wrong."""
    values, there = np.where(said, flat, 0), said.astype(np.float64)
    squares = values * values
    if said.all():
        counts = np.full((len(flat), len(flat)), float(flat.shape[1]))
        lengths = squares.sum(axis=1)
        together = lengths[:, None] + lengths
    else:
        counts = there @ there.T
        ones = squares @ there.T  # of the row's answer, over what the column's says, too
        together = ones + ones.T
    shared = np.maximum(counts, 1)
    apart = np.maximum(together - 2 * (values @ values.T), 0) / shared
    error = 4 * (flat.shape[1] + 64) * 2.0**-53 * together / shared
    # What is not finite says nothing of the order.
    wild = ~np.isfinite(together)
    apart[wild], error[wild] = 0, np.inf
    apart[counts == 0], error[counts == 0] = np.inf, 0
    return apart, error


def _settled(answers: Float64Array, row: int, order: IntArray, sure: npt.NDArray[np.bool_]) -> IntArray:
    """The order [n] from the answer of a row, of which only those places [n - 1] are sure."""
    settled = order.copy()
    for run in np.split(np.arange(len(order)), np.flatnonzero(sure) + 1):
        if len(run) > 1:
            found = np.sort(order[run])
            exact = distances(answers[found], answers[row])
            exact[found == row] = -1
            settled[run] = found[np.argsort(exact, kind="stable")]
    return settled


def summed(values: Float64Array, neighbours: IntArray) -> Float64Array:
    """The sums [n, d] of the values [n, d] of each one's neighbours [n, k], added up in their order."""
    sums = np.empty((len(neighbours), values.shape[1]))
    by_rank = np.ascontiguousarray(neighbours.T)
    for start in range(0, values.shape[1], _COLUMNS):
        columns = np.ascontiguousarray(values[:, start : start + _COLUMNS])
        total = np.zeros((len(neighbours), columns.shape[1]))
        one = np.empty_like(total)
        for rank in by_rank:
            columns.take(rank, axis=0, out=one, mode="clip")  # clip: without a copy of `out`
            total += one
        sums[:, start : start + _COLUMNS] = total
    return sums
