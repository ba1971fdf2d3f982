"""Levels as plain bits, without any model: what is sent without entropy coding, or where that would take
more.

Each code takes its bits; the last code of a row of shares is what the others leave, and is not sent. The k
kept classes of a row are one number, their place among all C(classes, k) sets in the combinatorial number
system (Lehmer 1964),

    c_1 < c_2 < ... < c_k   <->   C(c_1, 1) + C(c_2, 2) + ... + C(c_k, k),

or, where that number is too large for 62 bits, k class numbers.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fedstill_proto.arrays import IntArray
from fedstill_proto.soft_labels.entropy_model import LevelShape
from fedstill_proto.soft_labels.levels import Grid, Levels
from fedstill_proto.soft_labels.range_coder import Undecodable

BitArray = npt.NDArray[np.uint8]
_LARGEST_NUMBER_BITS = 62


def packed_bytes(shape: LevelShape) -> int:
    """How many bytes `pack` writes."""
    return -(-shape.rows * _row_bits(shape) // 8)


def pack(levels: Levels) -> bytes:
    """All rows, one after another, without gaps; zeros fill the last byte."""
    shape = LevelShape.of(levels)
    columns = [_bits(levels.codes[:, bucket].astype(np.int64), shape.bits) for bucket in range(_sent(shape))]
    if levels.indices is not None:
        columns = [*_set_columns(levels.indices, shape), *columns]
    rows = np.concatenate(columns, axis=1) if columns else np.empty((shape.rows, 0), np.uint8)
    return np.packbits(rows.ravel()).tobytes()


def unpack(data: bytes, shape: LevelShape) -> Levels:
    """The levels that `pack` wrote; raises Undecodable for other bytes."""
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    size = shape.rows * _row_bits(shape)
    if len(data) != packed_bytes(shape) or bits[size:].any():
        raise Undecodable
    rows = bits[:size].reshape(shape.rows, _row_bits(shape))
    indices = None
    if shape.k:
        width = sum(_set_bits(shape))
        indices, rows = _sets(rows[:, :width], shape), rows[:, width:]
    codes = np.zeros((shape.rows, shape.buckets), np.int64)
    for bucket in range(_sent(shape)):
        codes[:, bucket] = _numbers(rows[:, bucket * shape.bits : (bucket + 1) * shape.bits])
    if shape.grid is Grid.SHARES:
        codes[:, -1] = shape.top - codes.sum(axis=1)
        if (codes[:, -1] < 0).any():
            raise Undecodable
    return Levels(codes.astype(np.uint8), shape.classes, shape.bits, shape.grid, indices)


def _sent(shape: LevelShape) -> int:
    """How many buckets of a row have their codes sent."""
    return shape.buckets - 1 if shape.grid is Grid.SHARES else shape.buckets


def _row_bits(shape: LevelShape) -> int:
    return _sent(shape) * shape.bits + sum(_set_bits(shape))


def _set_bits(shape: LevelShape) -> list[int]:
    """The width of each number that names the classes a row keeps."""
    if not shape.k:
        return []
    together = (math.comb(shape.classes, shape.k) - 1).bit_length() if shape.classes < 1 << 16 else 64
    if together <= _LARGEST_NUMBER_BITS:
        return [together]
    return [(shape.classes - 1).bit_length()] * shape.k


def _set_columns(indices: IntArray, shape: LevelShape) -> list[BitArray]:
    widths = _set_bits(shape)
    if len(widths) == 1 and shape.k > 1:
        table = _binomials(shape)
        number = sum(table[place + 1][indices[:, place]] for place in range(shape.k))
        return [_bits(np.asarray(number), widths[0])]
    return [_bits(indices[:, place], width) for place, width in enumerate(widths)]


def _sets(bits: BitArray, shape: LevelShape) -> IntArray:
    widths = _set_bits(shape)
    indices = np.empty((len(bits), shape.k), np.int64)
    if len(widths) == 1 and shape.k > 1:
        table = _binomials(shape)
        number = _numbers(bits)
        if (number >= math.comb(shape.classes, shape.k)).any():
            raise Undecodable
        for place in range(shape.k - 1, -1, -1):
            # Higher classes leave no room for those after, and their numbers may not fit.
            column = table[place + 1][: shape.classes - shape.k + place + 1]
            indices[:, place] = np.searchsorted(column, number, side="right") - 1
            number = number - table[place + 1][indices[:, place]]
        return indices
    for place, width in enumerate(widths):
        indices[:, place] = _numbers(bits[:, place * width : (place + 1) * width])
    return indices


def _binomials(shape: LevelShape) -> list[IntArray]:
    """[j][c] = C(c, j) for c below the number of classes; those of possible sets fit if their number does."""
    rows = [np.ones(shape.classes, np.int64)]
    for _ in range(shape.k):
        rows.append(np.concatenate([[0], np.cumsum(rows[-1])[:-1]]))
    return rows


def _bits(numbers: IntArray, width: int) -> BitArray:
    """[n, width], the highest first."""
    return (numbers[:, None] >> np.arange(width - 1, -1, -1) & 1).astype(np.uint8)


def _numbers(bits: BitArray) -> IntArray:
    width = bits.shape[1]
    numbers: IntArray = bits.astype(np.int64) @ (1 << np.arange(width - 1, -1, -1, dtype=np.int64))
    return numbers
