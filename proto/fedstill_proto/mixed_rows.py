"""Public rows that nobody has to send: each is mixed of the rows of the public set, by its number alone.

Where a public set is small, its rows and not the answers to them limit what a student can learn of the fleet.
Answers to more rows say more, and a row x_i that is moved along differences of other rows,

    x_i + sum over M pairs of w (x_j - x_k),    w uniform, of variance 1 / (2 M),

stays among what the set's rows have in common: it is moved by a random vector of just their covariance.
Whoever has the same public set makes the same rows, bit for bit: i, j, k and w are of a counter-based
generator (Philox: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), and each number of a
row is reckoned by itself.
"""

from __future__ import annotations

import numpy as np

from fedstill_proto.arrays import Float64Array, FloatArray, IntArray

MOST_MIXED_ROWS = 1 << 16
_PAIRS = 3
_KEY = 0x6D69786564


def rows_with_mixed(public_x: FloatArray, rows: IntArray) -> FloatArray:
    """The rows [n] of a public set [P, *shape]; those from P on are mixed ones.

    Args:
        public_x: The public set; of floats, if a mixed row is among the rows.
        rows: Their numbers.
    """
    mixed = rows >= len(public_x)
    if not mixed.any():
        return public_x[rows]
    drawn = _drawn(int(rows.max()) + 1 - len(public_x))[rows[mixed] - len(public_x)]  # [m, 1 + 3 pairs]
    places = (drawn[:, : 1 + 2 * _PAIRS] * len(public_x)).astype(np.int64)
    deviation = np.sqrt(0.5 / _PAIRS)
    weights = (np.sqrt(12) * deviation * (drawn[:, 1 + 2 * _PAIRS :] - 0.5)).astype(np.float32)
    made = public_x[places[:, 0]]
    across = (-1, *(1 for _ in public_x.shape[1:]))
    for pair in range(_PAIRS):
        one, other = public_x[places[:, 1 + 2 * pair]], public_x[places[:, 2 + 2 * pair]]
        made = made + weights[:, pair].reshape(across) * (one - other)
    examples = np.empty((len(rows), *public_x.shape[1:]), public_x.dtype)
    examples[~mixed], examples[mixed] = public_x[rows[~mixed]], made
    return examples


def _drawn(count: int) -> Float64Array:
    """Numbers from 0 up to, and without, 1 [count, 1 + 3 _PAIRS]; a row is the same for any count."""
    raw = np.random.Philox(key=_KEY).random_raw(count * (1 + 3 * _PAIRS))
    return ((raw >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(count, -1)
