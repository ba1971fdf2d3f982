"""Soft labels of k words that say, on average, all that a teacher says of thousands.

The k likeliest words alone are biased: of all others a student learns their sum only (Anshumann et al. 2025,
"Sparse Logit Sampling", arXiv 2503.16870). Here k words are drawn so that the mean over draws is the whole.
With t what the teacher says, u shares of all words that both sides know, and tau such that sum of pi is k,

    d = max(0, t - c u),      c the largest n / 16 with sum of max(0, c u - t) at most a hundredth
    pi_j = min(1, d_j / tau)                      the chance that word j is named
    s_j = d_j / pi_j, of all of sum 1 - c         what is said of it: d_j itself, or tau
    label = s + (1 - sum of s) u                  the rest is shared by all words, the named ones too

That is the sample of least variance of all unbiased ones of k words (Cohen, Duffield et al. 2009, "Stream
sampling for variance-optimal estimation of subset sums", arXiv 0803.0473), drawn systematically, with one
number for each place. Without u, c is 0. What u says already takes no word to say.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.errors import InvalidValue

_Doubles = npt.NDArray[np.float64]
_STEPS = (1 / 2, 1 / 4, 1 / 8, 1 / 16)  # c is a sum of some: what u says too much of grows with it
_MOST_CLIPPED = 0.01  # of all chances: how much more than the teacher a label may say of words in u
_ROWS_AT_ONCE = 256
_LARGEST_START = 1 - 1e-9  # so that k + start is below k + 1


def sampled_words(
    chances: FloatArray,
    *,
    k: int,
    random: np.random.Generator,
    shared: FloatArray | None = None,
    shared_row: IntArray | None = None,
) -> tuple[IntArray, FloatArray]:
    """k different words of each row of chances [n, V], by their numbers, and what is said of each.

    shared: [m, V], the shares u, each row of sum 1; shared_row: [n], the row of them that holds.
    """
    if not 1 <= k < chances.shape[1]:
        raise InvalidValue("k", f"{k}; give 1 to {chances.shape[1] - 1} of {chances.shape[1]} words")
    named, said = np.empty((len(chances), k), np.int64), np.empty((len(chances), k), np.float32)
    for start in range(0, len(chances), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        whole = chances[rows].astype(np.float64)
        if shared is not None and shared_row is not None:
            whole = _unknown(whole, shared[shared_row[rows]].astype(np.float64))
        named[rows], said[rows] = _drawn(whole, k, random.random((len(whole), 1)))
    return named, said


def _unknown(whole: _Doubles, known: _Doubles) -> _Doubles:
    """d [n, V] of each row, of sum 1 - c."""
    share = np.zeros((len(whole), 1))
    for step in _STEPS:
        over = np.maximum((share + step) * known - whole, 0.0).sum(axis=1, keepdims=True)
        share += np.where(over <= _MOST_CLIPPED, step, 0.0)
    left: _Doubles = np.maximum(whole - share * known, 0.0)
    left *= (1 - share) / left.sum(axis=1, keepdims=True)
    return left


def _drawn(chances: _Doubles, k: int, starts: _Doubles) -> tuple[IntArray, FloatArray]:
    """The words of rows [n, V] of any sum; starts [n, 1], uniform from 0 to below 1."""
    largest = np.argpartition(-chances, k - 1, axis=1)[:, :k]
    values = np.take_along_axis(chances, largest, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    largest, values = np.take_along_axis(largest, order, axis=1), np.take_along_axis(values, order, axis=1)
    # If the m largest are named anyhow, the others share the k - m words that are left.
    others = chances.sum(axis=1, keepdims=True) - (values.cumsum(axis=1) - values)  # [n, k], for m = 0 ...
    each = np.maximum(others, 0.0) / (k - np.arange(k))
    sure = np.argmax((values <= each) | (np.arange(k) == k - 1), axis=1)[:, None]  # m
    tau = np.take_along_axis(each, sure, axis=1)
    certain = np.zeros(chances.shape, bool)
    np.put_along_axis(certain, largest, np.arange(k) < sure, axis=1)
    steps = np.where(certain, 0.0, chances).cumsum(axis=1)
    total = steps[:, -1:]
    steps *= np.divide(k - sure, total, out=np.zeros_like(total), where=total > 0)
    passed = np.floor(steps + np.minimum(starts, _LARGEST_START))
    drawn = np.diff(passed, axis=1, prepend=0.0) > 0
    # Where a row has fewer words than k with any chance, others are named with none.
    rank = np.where(certain, 2.0, drawn)
    named = np.sort(np.argpartition(-rank, k - 1, axis=1)[:, :k], axis=1)
    said = np.where(certain, chances, np.where(drawn, tau, 0.0))
    return named, np.take_along_axis(said, named, axis=1).astype(np.float32)
