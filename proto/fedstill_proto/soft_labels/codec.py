"""Soft labels on the wire: how they are coded, and the checks of what comes back."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedstill_proto.arrays import FloatArray
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.soft_labels.drawn.tails import DrawnTails, with_drawn_tails
from fedstill_proto.soft_labels.drawn.wire import MAX_SHARE_BITS, DrawnShape, decode_drawn, encode_drawn
from fedstill_proto.soft_labels.entropy import decode_levels, encode_levels
from fedstill_proto.soft_labels.entropy_model import LevelShape
from fedstill_proto.soft_labels.gaussian import (
    NUMBERS,
    GaussianSoftLabels,
    decode_gaussians,
    encode_gaussians,
)
from fedstill_proto.soft_labels.label_arrays import (
    ROW_SUM_TOLERANCE,
    DenseSoftLabels,
    SoftLabels,
    TopKSoftLabels,
    check_probabilities,
    check_sums,
    joined_labels,
    keep_top_k,
    labels_kind,
    split_labels,
    together_in_parts,
    unchecked_dense,
)
from fedstill_proto.soft_labels.largest_remainder import SHARES, dequantize, quantize
from fedstill_proto.soft_labels.levels import MAX_BITS, Grid, Levels, quantized
from fedstill_proto.v1 import fedstill_pb2 as pb

MAX_CLASSES = 1 << 24
# The most cells of a decoded array, dense or made dense: 1 GiB of float32; stops small messages of huge size.
MAX_CELLS = 1 << 28
# The most codes of LEVELS in one message: next to no bytes can stand for many, and each takes a microsecond.
MAX_LEVEL_CODES = 1 << 24


class Encoding(enum.Enum):
    """How soft labels are coded on the wire; the values are the names used in configurations."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    UINT8 = "uint8"
    TOP_K = "top-k"
    LEVELS = "levels"
    GAUSSIAN = "gaussian"
    DRAWN = "drawn"


@dataclass(frozen=True)
class SoftLabelCodec:
    """How soft labels are coded.

    The largest error of one probability, against the row normalized to 1:

    - FLOAT32: none, to the bit
    - FLOAT16: p/1000 + (1 + classes*p) * 2**-24 (the rounding of a float16, near 0 that of its smallest step,
      and as much again because the decoded row is normalized)
    - UINT8: less than 1/255; a row decodes to whole 255ths that add up to 1
    - TOP_K: less than 1/255 on the kept ones and on the rest bucket
    - LEVELS: see levels.py
    - GAUSSIAN: no probabilities, but means and variances of numbers; see gaussian.py
    - DRAWN: none in the mean over draws; less than 1 / (2**bits - 1) on the k likeliest; see drawn/tails.py

    Attributes:
        encoding: The form on the wire.
        k: How many classes TOP_K, LEVELS and DRAWN keep; LEVELS keep all with 0.
        bits: The bits of a code; LEVELS and DRAWN only.
        grid: What a code stands for; LEVELS only, as the next two.
        entropy: Whether codes are entropy coded.
        delta: Whether they may be coded against a base that both sides hold.
        drawn: How many classes are drawn of those that are not kept; DRAWN only.
    """

    encoding: Encoding
    k: int = 0
    bits: int = MAX_BITS
    grid: Grid = Grid.SHARES
    entropy: bool = False
    delta: bool = False
    drawn: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.encoding, Encoding):
            raise InvalidValue("encoding", f"{self.encoding!r} is not an Encoding")
        if self.encoding is Encoding.DRAWN:
            self._check_drawn()
            return
        if self.drawn != 0:
            raise InvalidValue("drawn", f"{self.drawn}, but {self.encoding.value} draws none; leave it at 0")
        if self.encoding is Encoding.TOP_K and not 1 <= self.k <= MAX_CLASSES:
            raise InvalidValue("k", f"{self.k} classes to keep; top-k needs at least 1")
        if self.encoding is Encoding.LEVELS:
            self._check_levels()
            return
        if self.encoding is not Encoding.TOP_K and self.k != 0:
            raise InvalidValue("k", f"{self.k}, but only top-k has a k; leave it at 0")
        self._check_no_levels(("bits", MAX_BITS))

    def _check_no_levels(self, *also: tuple[str, object]) -> None:
        for name, value in (*also, ("grid", Grid.SHARES), ("entropy", False), ("delta", False)):
            if getattr(self, name) != value:
                raise InvalidValue(name, f"{getattr(self, name)!r}, but only levels have it")

    def _check_drawn(self) -> None:
        for name, most in (("k", MAX_CLASSES), ("drawn", MAX_CLASSES), ("bits", MAX_SHARE_BITS)):
            value = getattr(self, name)
            if not isinstance(value, int) or not 1 <= value <= most:
                raise InvalidValue(name, f"{value!r} is not 1 to {most}")
        self._check_no_levels()

    def _check_levels(self) -> None:
        if not isinstance(self.k, int) or not 0 <= self.k <= MAX_CLASSES:
            raise InvalidValue("k", f"{self.k!r} classes to keep; 0 keeps all")
        if not isinstance(self.bits, int) or not 1 <= self.bits <= MAX_BITS:
            raise InvalidValue("bits", f"{self.bits!r} is not 1 to {MAX_BITS}")
        if not isinstance(self.grid, Grid):
            raise InvalidValue("grid", f"{self.grid!r} is not a Grid")
        if self.delta and not self.entropy:
            raise InvalidValue("delta", "only entropy coding gains by a base; switch entropy on as well")

    def row_bytes(self, classes: int) -> int:
        """The most bytes that one coded row takes, without the message around it."""
        if self.encoding is Encoding.LEVELS:
            kept = self.kept(classes)
            return (kept * 4 if kept else 0) + (kept + 1 if kept else classes)
        if self.encoding is Encoding.TOP_K:
            return min(self.k, classes) * (_index_dtype(classes).itemsize + 1)
        if self.encoding is Encoding.GAUSSIAN:
            return NUMBERS
        if self.encoding is Encoding.DRAWN:
            return self.drawn_shape(1, classes).size_bytes
        return classes * (1 if self.encoding is Encoding.UINT8 else _FLOAT_DTYPES[self.encoding].itemsize)

    @property
    def least(self) -> float:
        """The largest probability that is coded as 0: half of the smallest step."""
        return 0.5 / ((1 << self.bits) - 1)

    def kept(self, classes: int) -> int:
        """How many classes are named of so many, kept or drawn; 0 where all are."""
        named = self.k + self.drawn
        return named if 0 < named < classes else 0

    def drawn_shape(self, rows: int, classes: int) -> DrawnShape:
        """What is known of DRAWN before a bit is read."""
        return DrawnShape.of(rows, classes, k=self.k, drawn=self.drawn, bits=self.bits)

    def shape(self, rows: int, classes: int) -> LevelShape:
        """What is known of LEVELS before a code is read."""
        return LevelShape(rows, classes, self.kept(classes), self.bits, self.grid)

    def levels(self, labels: FloatArray | SoftLabels) -> Levels:
        """The rows on the grid of LEVELS that are nearest to probabilities [rows, classes]."""
        if isinstance(labels, np.ndarray):
            labels = DenseSoftLabels(labels)
        return quantized(labels, k=self.k, bits=self.bits, grid=self.grid)

    def levels_of(self, labels: Sequence[SoftLabels]) -> list[Levels]:
        """`levels` of the soft labels of each device."""
        levels: list[Levels | None] = [None] * len(labels)
        sizes = [one.rows * one.classes for one in labels]
        for places in together_in_parts(sizes, [labels_kind(one) for one in labels]):
            together = self.levels(joined_labels([labels[place] for place in places]))
            parts = together.split([labels[place].rows for place in places])
            for place, part in zip(places, parts, strict=True):
                levels[place] = part
        return [one for one in levels if one is not None]

    def received(self, labels: Sequence[SoftLabels]) -> list[SoftLabels]:
        """The soft labels of each device as the receiver will see them."""
        seen: list[SoftLabels | None] = [None] * len(labels)
        sizes = [one.rows * one.classes for one in labels]
        for places in together_in_parts(sizes, [labels_kind(one) for one in labels]):
            together = self.rounded(joined_labels([labels[place] for place in places]))
            parts = split_labels(together, [labels[place].rows for place in places])
            for place, part in zip(places, parts, strict=True):
                seen[place] = part
        return [one for one in seen if one is not None]

    def blank(self, labels: SoftLabels) -> pb.SoftLabels:
        """A message as long as that of `encode`, in which all numbers are zeros; not of LEVELS."""
        if self.encoding is Encoding.DRAWN:
            shape = self.drawn_shape(labels.rows, labels.classes)
            return shape.message(bytes(shape.size_bytes))
        message = pb.SoftLabels(encoding=TO_WIRE[self.encoding], rows=labels.rows, classes=labels.classes)
        row_bytes = self.row_bytes(labels.classes)
        if self.encoding is Encoding.TOP_K:
            message.k = min(self.k, labels.classes)
            message.indices = bytes(labels.rows * message.k * _index_dtype(labels.classes).itemsize)
            row_bytes = message.k
        message.values = bytes(labels.rows * row_bytes)
        return message

    def rounded(self, labels: FloatArray | SoftLabels) -> SoftLabels:
        """Probabilities [rows, classes] as the receiver will see them."""
        if self.encoding is Encoding.LEVELS:
            return self.levels(labels).soft_labels()
        return decode_soft_labels(self.encode(labels), field="labels")

    def encode(self, labels: FloatArray | SoftLabels | DrawnTails) -> pb.SoftLabels:
        """Encode probabilities [rows, classes], or labels that were decoded before.

        Top-k labels keep their indices when the codec is top-k with the same k, and are spread over all
        classes otherwise. A k above the number of classes keeps all of them.
        """
        if isinstance(labels, np.ndarray):
            labels = DenseSoftLabels(labels)
        if isinstance(labels, DrawnTails):
            if self.encoding is Encoding.DRAWN:
                return encode_drawn(labels, bits=self.bits)
            labels = labels.named()
        if isinstance(labels, GaussianSoftLabels) != (self.encoding is Encoding.GAUSSIAN):
            raise InvalidValue("encoding", f"{self.encoding.value!r} is not for {type(labels).__name__}")
        if isinstance(labels, GaussianSoftLabels):
            return encode_gaussians(labels)
        if self.encoding is Encoding.LEVELS:
            return message_of_levels(self.levels(labels), entropy=self.entropy)
        if self.encoding is Encoding.DRAWN:
            return encode_drawn(with_drawn_tails(labels, k=self.k, drawn=self.drawn), bits=self.bits)
        if self.encoding is Encoding.TOP_K:
            return _encode_top_k(keep_top_k(labels, self.k))
        return _encode_dense(labels.dense(), self.encoding)


def _encode_dense(probabilities: FloatArray, encoding: Encoding) -> pb.SoftLabels:
    if encoding is Encoding.UINT8:
        values = quantize(probabilities).tobytes()
    else:
        if encoding is Encoding.FLOAT16:
            probabilities = _normalized(probabilities)
        # Means may round to just above 1; the tolerance is in the sum, not in a probability.
        values = np.clip(probabilities, 0, 1).astype(_FLOAT_DTYPES[encoding]).tobytes()
    rows, classes = probabilities.shape
    return pb.SoftLabels(encoding=TO_WIRE[encoding], rows=rows, classes=classes, values=values)


def _encode_top_k(labels: TopKSoftLabels) -> pb.SoftLabels:
    buckets = labels.probabilities
    if labels.k < labels.classes:
        buckets = np.concatenate([buckets, labels.rest[:, None]], axis=1)  # [rows, k+1]
    return pb.SoftLabels(
        encoding=pb.SOFT_LABEL_ENCODING_TOP_K,
        rows=labels.rows,
        classes=labels.classes,
        k=labels.k,
        indices=labels.indices.astype(_index_dtype(labels.classes)).tobytes(),
        values=quantize(buckets)[:, : labels.k].tobytes(),
    )


def decode_soft_labels(
    message: pb.SoftLabels, *, field: str, rows: int | None = None, classes: int | None = None
) -> SoftLabels:
    """Check a message and turn it into arrays.

    Args:
        message: What was received.
        field: Its place, for errors.
        rows: How many rows it must have, if that is known.
        classes: How many classes it must have, if that is known.

    Raises:
        WireError: The message is no soft labels, or others than expected; its field starts with `field`.
    """
    encoding = FROM_WIRE.get(message.encoding)
    if encoding is None:
        raise WireError(f"{field}.encoding", f"unknown value {message.encoding}")
    if encoding not in (Encoding.LEVELS, Encoding.DRAWN) and (message.bits or message.grid):
        raise WireError(f"{field}.bits", "bits and grid belong to levels only")
    if encoding is not Encoding.DRAWN and message.drawn:
        raise WireError(f"{field}.drawn", f"{message.drawn}, but {encoding.value} draws none")
    if rows is not None and message.rows != rows:
        raise WireError(f"{field}.rows", f"{message.rows}, expected {rows}")
    if classes is not None and message.classes != classes:
        raise WireError(f"{field}.classes", f"{message.classes}, expected {classes}")
    if encoding is Encoding.DRAWN:
        _check_classes(message, field)
        return decode_drawn(message, field=field)
    _check_cells(message, field)
    if encoding is Encoding.LEVELS:
        return levels_of_message(message, field=field).soft_labels()
    if encoding is Encoding.TOP_K:
        return _decode_top_k(message, field)
    if encoding is Encoding.GAUSSIAN:
        return decode_gaussians(message, field=field)
    if message.k or message.indices:
        raise WireError(f"{field}.k", "k and indices belong to top-k only")
    if encoding is Encoding.UINT8:
        return _decode_shares(message, field)
    return _decode_floats(message, encoding, field)


def message_of_levels(levels: Levels, *, entropy: bool = False, values: bytes | None = None) -> pb.SoftLabels:
    """Levels as a message that holds their shape, too.

    Args:
        levels: What is written.
        entropy: Whether to code the entropy.
        values: The levels in bytes, where they are coded already.
    """
    return pb.SoftLabels(
        encoding=pb.SOFT_LABEL_ENCODING_LEVELS,
        rows=levels.rows,
        classes=levels.classes,
        k=levels.k,
        bits=levels.bits,
        grid=GRID_NUMBERS[levels.grid],
        values=encode_levels(levels, entropy=entropy) if values is None else values,
    )


def levels_of_message(message: pb.SoftLabels, *, field: str, table_base: Levels | None = None) -> Levels:
    """What `message_of_levels` made; raises WireError, whose field starts with `field`.

    Args:
        message: What was received.
        field: Its place, for errors.
        table_base: What its values may be coded against.
    """
    if message.encoding != pb.SOFT_LABEL_ENCODING_LEVELS:
        raise WireError(f"{field}.encoding", f"{message.encoding}, expected levels")
    _check_cells(message, field)
    grid = GRIDS.get(message.grid)
    if grid is None:
        raise WireError(f"{field}.grid", f"unknown value {message.grid}")
    if not 1 <= message.bits <= MAX_BITS:
        raise WireError(f"{field}.bits", f"{message.bits} is not 1 to {MAX_BITS}")
    if message.k >= message.classes or message.indices:
        raise WireError(f"{field}.k", f"{message.k} of {message.classes} classes (0 is all)")
    shape = LevelShape(message.rows, message.classes, message.k, message.bits, grid)
    if shape.rows * shape.buckets > MAX_LEVEL_CODES:
        raise WireError(f"{field}.rows", f"{shape.rows} rows of {shape.buckets} codes are too many")
    base = table_base if table_base is not None and shape.fits(table_base) else None
    return decode_levels(message.values, shape, field=f"{field}.values", table_base=base)


def _check_classes(message: pb.SoftLabels, field: str) -> None:
    if not 1 <= message.classes <= MAX_CLASSES:
        raise WireError(f"{field}.classes", f"{message.classes} is not 1 to {MAX_CLASSES}")


def _check_cells(message: pb.SoftLabels, field: str) -> None:
    if not 1 <= message.classes <= MAX_CLASSES or message.rows * message.classes > MAX_CELLS:
        problem = f"{message.rows} rows of {message.classes} classes are out of range"
        raise WireError(f"{field}.classes", problem)


def _decode_shares(message: pb.SoftLabels, field: str) -> DenseSoftLabels:
    data = _checked(message.values, 1, (message.rows, message.classes), f"{field}.values")
    codes = np.frombuffer(data, np.uint8).reshape(message.rows, message.classes)
    sums = np.add.reduce(codes, axis=1, dtype=np.int64)
    if (sums != SHARES).any():
        row = int(np.argmax(sums != SHARES))
        raise WireError(f"{field}.values", f"row {row} adds up to {sums[row]} of {SHARES} shares")
    return unchecked_dense(dequantize(codes))


def _decode_floats(message: pb.SoftLabels, encoding: Encoding, field: str) -> DenseSoftLabels:
    shape = (message.rows, message.classes)
    dtype = _FLOAT_DTYPES[encoding]
    data = _checked(message.values, dtype.itemsize, shape, f"{field}.values")
    probabilities = np.frombuffer(data, dtype).astype(np.float32).reshape(shape)
    rounding = 0.0 if encoding is Encoding.FLOAT32 else message.classes * 2.0**-25
    try:
        check_probabilities(probabilities)
        if probabilities.size and probabilities.max() > 1:
            raise InvalidValue("probabilities", f"{probabilities.max()} is not in 0 to 1")
        check_sums(probabilities, tolerance=ROW_SUM_TOLERANCE + rounding)
    except InvalidValue as error:
        raise WireError(f"{field}.values", error.problem) from None
    return unchecked_dense(probabilities if encoding is Encoding.FLOAT32 else _normalized(probabilities))


def _decode_top_k(message: pb.SoftLabels, field: str) -> TopKSoftLabels:
    if not 1 <= message.k <= message.classes:
        raise WireError(f"{field}.k", f"{message.k} of {message.classes} classes")
    shape = (message.rows, message.k)
    index_dtype = _index_dtype(message.classes)
    stored = _checked(message.indices, index_dtype.itemsize, shape, f"{field}.indices")
    indices = np.frombuffer(stored, index_dtype).astype(np.int64).reshape(shape)
    codes = np.frombuffer(_checked(message.values, 1, shape, f"{field}.values"), np.uint8).reshape(shape)
    try:
        return TopKSoftLabels(indices, dequantize(codes), message.classes)
    except InvalidValue as error:
        place = "indices" if error.field == "indices" else "values"
        raise WireError(f"{field}.{place}", error.problem) from None


def _checked(data: bytes, item_bytes: int, shape: tuple[int, int], field: str) -> bytes:
    expected = shape[0] * shape[1] * item_bytes
    if len(data) != expected:
        raise WireError(field, f"{len(data)} bytes, expected {expected} for {shape[0]} x {shape[1]}")
    return data


def _normalized(probabilities: FloatArray) -> FloatArray:
    sums = np.add.reduce(probabilities, axis=1, keepdims=True)
    return np.divide(probabilities, sums, dtype=np.float32)


def _index_dtype(classes: int) -> np.dtype[np.unsignedinteger]:
    if classes <= 1 << 8:
        return np.dtype("u1")
    return np.dtype("<u2") if classes <= 1 << 16 else np.dtype("<u4")


_FLOAT_DTYPES: dict[Encoding, np.dtype[np.floating]] = {
    Encoding.FLOAT32: np.dtype("<f4"),
    Encoding.FLOAT16: np.dtype("<f2"),
}
TO_WIRE: dict[Encoding, pb.SoftLabelEncoding] = {
    Encoding.FLOAT32: pb.SOFT_LABEL_ENCODING_FLOAT32,
    Encoding.FLOAT16: pb.SOFT_LABEL_ENCODING_FLOAT16,
    Encoding.UINT8: pb.SOFT_LABEL_ENCODING_UINT8,
    Encoding.TOP_K: pb.SOFT_LABEL_ENCODING_TOP_K,
    Encoding.LEVELS: pb.SOFT_LABEL_ENCODING_LEVELS,
    Encoding.GAUSSIAN: pb.SOFT_LABEL_ENCODING_GAUSSIAN,
    Encoding.DRAWN: pb.SOFT_LABEL_ENCODING_DRAWN,
}
GRID_NUMBERS: dict[Grid, pb.SoftLabelGrid] = {
    Grid.SHARES: pb.SOFT_LABEL_GRID_SHARES,
    Grid.LOG: pb.SOFT_LABEL_GRID_LOG,
}
GRIDS: dict[int, Grid] = {int(number): grid for grid, number in GRID_NUMBERS.items()}
FROM_WIRE: dict[int, Encoding] = {int(number): encoding for encoding, number in TO_WIRE.items()}
