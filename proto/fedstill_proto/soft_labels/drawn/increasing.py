"""Rows of whole numbers that never fall, in about as few bits as there are such rows (Elias 1974, Fano 1971).

Of n numbers x_0 <= x_1 <= ... below a bound u, the low l = floor(log2(u / n)) bits are written as they are.
What is above them rises from 0 to (u - 1) >> l: its i-th value h_i is a one at place h_i + i of a row of
n + ((u - 1) >> l) bits, in which all others are zeros. That is at most 3 + log2(u / n) bits a number, and a
length which n and u alone decide.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fedstill_proto.arrays import IntArray

BitArray = npt.NDArray[np.uint8]


def row_bits(count: int, bound: int) -> int:
    """Bits of `count` numbers below `bound`."""
    if count == 0:
        return 0
    low = _low_bits(count, bound)
    return count * low + count + ((bound - 1) >> low)


def to_bits(numbers: IntArray, bound: int) -> BitArray:
    """Bits [rows, row_bits] of numbers [rows, count], 0 to bound - 1, which never fall within a row."""
    rows, count = numbers.shape
    if count == 0:
        return np.empty((rows, 0), np.uint8)
    low = _low_bits(count, bound)
    high = np.zeros((rows, count + ((bound - 1) >> low)), np.uint8)
    np.put_along_axis(high, (numbers >> low) + np.arange(count), 1, axis=1)
    lows = (numbers[:, :, None] >> np.arange(low - 1, -1, -1) & 1).astype(np.uint8)
    return np.concatenate([high, lows.reshape(rows, count * low)], axis=1)


def of_bits(bits: BitArray, count: int, bound: int) -> IntArray | None:
    """The numbers [rows, count] that `to_bits` made these bits of; None where it makes none such."""
    rows = len(bits)
    if count == 0:
        return np.empty((rows, 0), np.int64)
    low = _low_bits(count, bound)
    width = count + ((bound - 1) >> low)
    high = bits[:, :width]
    if (high.sum(axis=1, dtype=np.int64) != count).any():
        return None
    places = np.nonzero(high)[1].reshape(rows, count) - np.arange(count)
    lows = bits[:, width:].reshape(rows, count, low).astype(np.int64) @ (1 << np.arange(low - 1, -1, -1))
    numbers: IntArray = (places << low) + lows
    if (numbers[:, 1:] < numbers[:, :-1]).any() or (rows and int(numbers.max()) >= bound):
        return None
    return numbers


def _low_bits(count: int, bound: int) -> int:
    return max(0, (bound // count).bit_length() - 1)
