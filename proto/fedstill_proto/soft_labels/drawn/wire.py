"""Drawn tails as bytes, and the checks of what comes back.

A row of k likeliest classes and m draws of `classes`, bit by bit and without gaps between rows:

    the likeliest           increasing.py, of c_i - i
    the draws               increasing.py, of the numbers of the classes which are left without the likeliest
    their probabilities     `bits` each, in 2**bits - 1 equal shares of 1

The rest of the shares is the draws', in equal parts. Shares are rounded by one random number v for a row,

    code_i = floor(C_i + v) - floor(C_i-1 + v),    with C_i the sum up to class i

so each is off by less than one share, all of a row, the rest with them, add up to 1, and the expectation of
each is what it was: what is decoded is as unbiased as what was drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedstill_proto.arrays import Float64Array, IntArray
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.soft_labels.drawn.increasing import BitArray, of_bits, row_bits, to_bits
from fedstill_proto.soft_labels.drawn.tails import DrawnTails
from fedstill_proto.soft_labels.label_arrays import TopKSoftLabels
from fedstill_proto.v1 import fedstill_pb2 as pb

MAX_SHARE_BITS = 16
MAX_NAMED = 1 << 22
"""The most classes, named and drawn, in one message."""
_ROUNDING = 1e-5  # of a share: such sums are whole, but for rounding


@dataclass(frozen=True)
class DrawnShape:
    """What is known of drawn tails before a bit is read; k and drawn are at most what `classes` allow."""

    rows: int
    classes: int
    k: int
    drawn: int
    bits: int

    @classmethod
    def of(cls, rows: int, classes: int, *, k: int, drawn: int, bits: int) -> DrawnShape:
        """The shape where a row keeps k, and draws so many, of as many classes as there are."""
        kept = min(k, classes)
        return cls(rows, classes, kept, min(drawn, classes - kept), bits)

    @property
    def row_bits(self) -> int:
        """Bits of one row."""
        return sum(self.fields)

    @property
    def fields(self) -> tuple[int, int, int]:
        """Bits of the likeliest classes, of the draws, and of the probabilities."""
        return (
            row_bits(self.k, self.classes - self.k + 1),
            row_bits(self.drawn, self.classes - self.k),
            self.k * self.bits,
        )

    @property
    def size_bytes(self) -> int:
        """What the values of a message take."""
        return -(-self.rows * self.row_bits // 8)

    def message(self, values: bytes) -> pb.SoftLabels:
        """A message of this shape."""
        return pb.SoftLabels(
            encoding=pb.SOFT_LABEL_ENCODING_DRAWN,
            rows=self.rows,
            classes=self.classes,
            k=self.k,
            drawn=self.drawn,
            bits=self.bits,
            values=values,
        )


def encode_drawn(labels: DrawnTails, *, bits: int) -> pb.SoftLabels:
    """The message of soft labels; bits: of a probability."""
    shape = DrawnShape(labels.rows, labels.classes, labels.indices.shape[1], labels.draws.shape[1], bits)
    if shape.rows == 0:
        return shape.message(b"")
    lowered = labels.indices - np.arange(shape.k)
    columns = [
        to_bits(lowered, shape.classes - shape.k + 1),
        to_bits(labels.draws - _counted(labels.indices, labels.draws), shape.classes - shape.k),
        _bits(_shares(labels, (1 << bits) - 1), bits),
    ]
    return shape.message(np.packbits(np.concatenate(columns, axis=1).ravel()).tobytes())


def decode_drawn(message: pb.SoftLabels, *, field: str) -> TopKSoftLabels:
    """What `encode_drawn` made, as named classes; raises WireError, whose field starts with `field`."""
    shape = _checked_shape(message, field)
    refused = WireError(f"{field}.values", "bits that stand for no drawn tails of this shape")
    bits = np.unpackbits(np.frombuffer(message.values, np.uint8))
    size = shape.rows * shape.row_bits
    if bits[size:].any():
        raise refused
    rows = bits[:size].reshape(shape.rows, shape.row_bits)
    first, second, _ = np.cumsum(shape.fields)
    lowered = of_bits(rows[:, :first], shape.k, shape.classes - shape.k + 1)
    left = of_bits(rows[:, first:second], shape.drawn, shape.classes - shape.k)
    if lowered is None or left is None:
        raise refused
    top = (1 << shape.bits) - 1
    weights = 1 << np.arange(shape.bits - 1, -1, -1)
    codes = rows[:, second:].reshape(shape.rows, shape.k, shape.bits).astype(np.int64) @ weights
    sums = codes.sum(axis=1)
    if (sums > top).any() or (not shape.drawn and (sums != top).any()):
        row = int(np.argmax((sums > top) | (sums != top if not shape.drawn else False)))
        raise WireError(f"{field}.values", f"row {row} adds up to {sums[row]} of {top} shares")
    probabilities = np.divide(codes, top, dtype=np.float32)
    draws = left + _counted(lowered, left)  # those before them that are among the likeliest
    try:
        tails = DrawnTails(
            lowered + np.arange(shape.k), probabilities, draws, shape.classes, np.zeros(shape.rows)
        )
        return tails.named()
    except InvalidValue as error:
        raise WireError(f"{field}.values", error.problem) from None


def _checked_shape(message: pb.SoftLabels, field: str) -> DrawnShape:
    """The shape that a message states, where that can be."""
    if not 1 <= message.bits <= MAX_SHARE_BITS:
        raise WireError(f"{field}.bits", f"{message.bits} is not 1 to {MAX_SHARE_BITS}")
    if message.indices or message.grid:
        raise WireError(f"{field}.indices", "indices and a grid belong to other encodings")
    if not 1 <= message.k <= message.classes or message.drawn > message.classes - message.k:
        problem = f"{message.k} likeliest and {message.drawn} draws of {message.classes} classes"
        raise WireError(f"{field}.k", problem)
    if not message.drawn and message.k < message.classes:
        raise WireError(f"{field}.drawn", f"none, but {message.classes - message.k} classes are not named")
    if message.rows * (message.k + message.drawn) > MAX_NAMED:
        named = message.k + message.drawn
        raise WireError(f"{field}.rows", f"{message.rows} rows of {named} classes are too many")
    shape = DrawnShape(message.rows, message.classes, message.k, message.drawn, message.bits)
    if len(message.values) != shape.size_bytes:
        raise WireError(f"{field}.values", f"{len(message.values)} bytes, expected {shape.size_bytes}")
    return shape


def _shares(labels: DrawnTails, top: int) -> IntArray:
    """Whole shares [rows, k] of `top`, which with those of the rest add up to it."""
    exact: Float64Array = labels.probabilities.astype(np.float64)
    rest = labels.rest.astype(np.float64) if labels.draws.shape[1] else np.zeros(labels.rows)
    reached = np.cumsum(exact, axis=1) * (top / (exact.sum(axis=1) + rest))[:, None]
    whole = np.rint(reached)
    reached = np.where(np.abs(reached - whole) < _ROUNDING, whole, reached)
    floors = np.minimum(np.floor(reached + labels.uniforms[:, None]), top)
    codes: IntArray = np.diff(floors, axis=1, prepend=0).astype(np.int64)
    return codes


def _counted(rising: IntArray, wanted: IntArray) -> IntArray:
    """Of each number of `wanted` [rows, m], how many of its row of `rising` [rows, k] are at most that."""
    apart = int(max(rising.max(initial=0), wanted.max(initial=0))) + 1
    rows = np.arange(len(rising))[:, None]
    found = np.searchsorted(
        (rising + rows * apart).reshape(-1), (wanted + rows * apart).reshape(-1), side="right"
    )
    counts: IntArray = found.reshape(wanted.shape) - rows * rising.shape[1]
    return counts


def _bits(codes: IntArray, width: int) -> BitArray:
    """[rows, k * width], the highest bit of each first."""
    spread = (codes[:, :, None] >> np.arange(width - 1, -1, -1) & 1).astype(np.uint8)
    return spread.reshape(len(codes), -1)
