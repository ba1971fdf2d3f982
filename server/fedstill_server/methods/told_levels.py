"""The codes of the soft labels that a fleet is told: as coarse, and as few of them new, as the labels bear.

A task's soft labels are coded against those of an earlier round, so that a code that stays costs nearly
nothing. Two things keep codes from changing, and the server itself holds the soft labels q as they are, so
that errors never add up:

- While the labels still move far in a round, finer codes would be news of nothing that stays. Steps of the
  grid are taken together, so many that they are about five times as long as the move (rounding then errs by
  5 / sqrt(12) = 1.4 times as much): codes are multiples of a stride, a power of two so that old codes still
  are, when it becomes smaller as the labels settle.
- Of these nearest codes, those go back to the ones that were told before, the cheapest first, that raise
  KL(q || p) of their row, p being what its codes stand for, by less than tolerance / classes each:
  rate-distortion optimization, with one price for every new code.
"""

from __future__ import annotations

import math

import numpy as np
from fedstill_proto.arrays import Float64Array, FloatArray
from fedstill_proto.soft_labels.codec import SoftLabelCodec
from fedstill_proto.soft_labels.levels import LOG_RANGE, Levels

_STEP_IN_MOVES = 5.0
_FEWEST_STEPS = 3  # of a grid that is made coarser
_LEAST = math.exp(-2 * LOG_RANGE)  # far below the grid, and not 0


def told_levels(
    soft_labels: FloatArray, before: Levels | None, codec: SoftLabelCodec, *, move: float, tolerance: float
) -> Levels:
    """The levels that are told of soft labels [rows, classes].

    Args:
        soft_labels: What the server holds.
        before: What was told of the same rows.
        codec: How tasks are coded, on the grid LOG, with all classes.
        move: How far their logarithms moved since: root mean square.
        tolerance: What the old codes of a row may add to its divergence, in nats; 0 tells the nearest levels.
    """
    if before is None or tolerance == 0:
        return codec.levels(soft_labels)
    step = LOG_RANGE / before.top
    stride = 1
    while stride * math.sqrt(2) <= _STEP_IN_MOVES * move / step and 2 * stride * _FEWEST_STEPS <= before.top:
        stride *= 2
    nearest = Levels(
        _codes(soft_labels, step * stride, before.top, stride), before.classes, before.bits, before.grid
    )
    return kept_codes(nearest, before, soft_labels, tolerance=tolerance)


def kept_codes(nearest: Levels, before: Levels, soft_labels: FloatArray, *, tolerance: float) -> Levels:
    """`nearest`, with those codes of `before` that each add less than tolerance / classes to a divergence.

    Of many classes, several codes go back before their row is looked at again.
    """
    price, at_once = tolerance / nearest.classes, max(nearest.classes // 16, 1)
    step = LOG_RANGE / nearest.top
    table = np.exp(-np.arange(nearest.top + 1) * step)
    codes, old = nearest.codes.copy(), before.codes
    rows = np.flatnonzero((codes != old).any(axis=1))
    while len(rows):
        now, then, shares = codes[rows], old[rows], soft_labels[rows].astype(np.float64)
        powers = table[now]
        # KL(q || p) = sum q log q + step sum q code + log sum exp(-step code)
        added = step * shares * (then.astype(np.int64) - now)
        added += np.log1p((table[then] - powers) / powers.sum(axis=1, keepdims=True))
        only_likeliest = (now == 0) & ((now == 0).sum(axis=1, keepdims=True) == 1)
        added[(now == then) | only_likeliest] = np.inf
        places = np.argpartition(added, at_once - 1, axis=1)[:, :at_once]
        cheap = np.take_along_axis(added, places, axis=1) < price
        again = cheap.any(axis=1)
        of, places = np.broadcast_to(rows[:, None], places.shape)[cheap], places[cheap]
        codes[of, places] = old[of, places]
        rows = rows[again]
    return Levels(codes, nearest.classes, nearest.bits, nearest.grid)


def root_mean_square(values: Float64Array) -> float:
    """The root of the mean of squares."""
    return float(np.sqrt(np.mean(values * values)))


def _codes(soft_labels: FloatArray, step: float, top: int, stride: int) -> np.ndarray:
    """The nearest multiples of `stride` up to `top`, which are `step` apart in log p: uint8."""
    logs = np.log(np.maximum(soft_labels.astype(np.float64), _LEAST))
    multiples = np.rint((logs.max(axis=1, keepdims=True) - logs) / step)
    return np.asarray(np.minimum(multiples, top // stride) * stride, np.uint8)
