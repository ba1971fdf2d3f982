"""Soft labels in numpy and on the wire: dense, or the top k classes and a rest bucket."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.shares import SHARES, cut, joined
from fedstill_proto.v1 import fedstill_pb2 as pb

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

# How far a float row may add up beside 1; float32 softmax over a million classes stays well inside.
ROW_SUM_TOLERANCE = 1e-3
MAX_CLASSES = 1 << 24
# Of a decoded array, dense or made dense: 1 GiB of float32. Stops a small message with a huge shape.
MAX_CELLS = 1 << 28


class Encoding(enum.Enum):
    """How soft labels are coded on the wire; the values are the names used in configurations."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    UINT8 = "uint8"
    TOP_K = "top-k"


@dataclass(frozen=True, eq=False)
class DenseSoftLabels:
    """A probability for each class: `probabilities` [rows, classes]."""

    probabilities: FloatArray

    def __post_init__(self) -> None:
        _check_probabilities(self.probabilities)
        if self.classes < 1:
            raise InvalidValue("probabilities", "no classes")
        _check_sums(self.probabilities)

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
        _check_probabilities(self.probabilities)
        _check_indices(self.indices, self.probabilities.shape, self.classes)
        _check_sums(self.probabilities, at_most=self.k < self.classes)

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


SoftLabels = DenseSoftLabels | TopKSoftLabels


@dataclass(frozen=True)
class SoftLabelCodec:
    """How soft labels are coded. Largest error of one probability against the row, normalized to 1:

    - FLOAT32: the float32 itself, to the bit
    - FLOAT16: p/1000 + (1 + classes*p) * 2**-24 (the rounding of a float16, near 0 that of its smallest step,
      and as much again because the decoded row is normalized)
    - UINT8: less than 1/255; a row decodes to whole 255ths that add up to 1
    - TOP_K: less than 1/255 on the kept ones and on the rest bucket
    """

    encoding: Encoding
    k: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.encoding, Encoding):
            raise InvalidValue("encoding", f"{self.encoding!r} is not an Encoding")
        if self.encoding is Encoding.TOP_K and not 1 <= self.k <= MAX_CLASSES:
            raise InvalidValue("k", f"{self.k} classes to keep; top-k needs at least 1")
        if self.encoding is not Encoding.TOP_K and self.k != 0:
            raise InvalidValue("k", f"{self.k}, but only top-k has a k; leave it at 0")

    def row_bytes(self, classes: int) -> int:
        """What one coded row takes, without the message around it."""
        if self.encoding is Encoding.TOP_K:
            return min(self.k, classes) * (_index_dtype(classes).itemsize + 1)
        return classes * (1 if self.encoding is Encoding.UINT8 else _FLOAT_DTYPES[self.encoding].itemsize)

    def encode(self, labels: FloatArray | SoftLabels) -> pb.SoftLabels:
        """Code probabilities [rows, classes], or labels that were decoded before.

        Top-k labels keep their indices when the codec is top-k with the same k, and are spread over all
        classes otherwise. A k above the number of classes keeps all of them.
        """
        if isinstance(labels, np.ndarray):
            labels = DenseSoftLabels(labels)
        if self.encoding is Encoding.TOP_K:
            return _encode_top_k(_keep_top_k(labels, self.k))
        return _encode_dense(labels.dense(), self.encoding)


def _encode_dense(probabilities: FloatArray, encoding: Encoding) -> pb.SoftLabels:
    if encoding is Encoding.UINT8:
        values = cut(probabilities).tobytes()
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
        values=cut(buckets)[:, : labels.k].tobytes(),
    )


def _keep_top_k(labels: SoftLabels, k: int) -> TopKSoftLabels:
    k = min(k, labels.classes)
    if isinstance(labels, TopKSoftLabels) and labels.k == k:
        return labels
    dense = labels.dense()
    # A stable sort, so that of two equally likely classes the first is kept, on every machine.
    order = np.argsort(-dense, axis=1, kind="stable")[:, :k]
    indices = np.sort(order, axis=1).astype(np.int64)
    return TopKSoftLabels(indices, np.take_along_axis(dense, indices, axis=1), labels.classes)


def decode_soft_labels(
    message: pb.SoftLabels, *, field: str, rows: int | None = None, classes: int | None = None
) -> SoftLabels:
    """Check `message` and turn it into arrays; `rows` and `classes` are what they must be, if known.

    Raises WireError, whose field starts with `field`.
    """
    encoding = FROM_WIRE.get(message.encoding)
    if encoding is None:
        raise WireError(f"{field}.encoding", f"unknown value {message.encoding}")
    if rows is not None and message.rows != rows:
        raise WireError(f"{field}.rows", f"{message.rows}, expected {rows}")
    if classes is not None and message.classes != classes:
        raise WireError(f"{field}.classes", f"{message.classes}, expected {classes}")
    if not 1 <= message.classes <= MAX_CLASSES or message.rows * message.classes > MAX_CELLS:
        problem = f"{message.rows} rows of {message.classes} classes are out of range"
        raise WireError(f"{field}.classes", problem)
    if encoding is Encoding.TOP_K:
        return _decode_top_k(message, field)
    if message.k or message.indices:
        raise WireError(f"{field}.k", "k and indices belong to top-k only")
    if encoding is Encoding.UINT8:
        return _decode_shares(message, field)
    return _decode_floats(message, encoding, field)


def _decode_shares(message: pb.SoftLabels, field: str) -> DenseSoftLabels:
    data = _checked(message.values, 1, (message.rows, message.classes), f"{field}.values")
    codes = np.frombuffer(data, np.uint8).reshape(message.rows, message.classes)
    sums = np.add.reduce(codes, axis=1, dtype=np.int64)
    if (sums != SHARES).any():
        row = int(np.argmax(sums != SHARES))
        raise WireError(f"{field}.values", f"row {row} adds up to {sums[row]} of {SHARES} shares")
    return _unchecked_dense(joined(codes))


def _decode_floats(message: pb.SoftLabels, encoding: Encoding, field: str) -> DenseSoftLabels:
    shape = (message.rows, message.classes)
    dtype = _FLOAT_DTYPES[encoding]
    data = _checked(message.values, dtype.itemsize, shape, f"{field}.values")
    probabilities = np.frombuffer(data, dtype).astype(np.float32).reshape(shape)
    rounding = 0.0 if encoding is Encoding.FLOAT32 else message.classes * 2.0**-25
    try:
        _check_probabilities(probabilities)
        if probabilities.size and probabilities.max() > 1:
            raise InvalidValue("probabilities", f"{probabilities.max()} is not in 0 to 1")
        _check_sums(probabilities, tolerance=ROW_SUM_TOLERANCE + rounding)
    except InvalidValue as error:
        raise WireError(f"{field}.values", error.problem) from None
    return _unchecked_dense(probabilities if encoding is Encoding.FLOAT32 else _normalized(probabilities))


def _decode_top_k(message: pb.SoftLabels, field: str) -> TopKSoftLabels:
    if not 1 <= message.k <= message.classes:
        raise WireError(f"{field}.k", f"{message.k} of {message.classes} classes")
    shape = (message.rows, message.k)
    index_dtype = _index_dtype(message.classes)
    stored = _checked(message.indices, index_dtype.itemsize, shape, f"{field}.indices")
    indices = np.frombuffer(stored, index_dtype).astype(np.int64).reshape(shape)
    codes = np.frombuffer(_checked(message.values, 1, shape, f"{field}.values"), np.uint8).reshape(shape)
    try:
        return TopKSoftLabels(indices, joined(codes), message.classes)
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


def _unchecked_dense(probabilities: FloatArray) -> DenseSoftLabels:
    """Labels whose rows are known to be distributions, without summing them once more."""
    labels = object.__new__(DenseSoftLabels)
    object.__setattr__(labels, "probabilities", probabilities)
    return labels


def _check_probabilities(probabilities: FloatArray) -> None:
    is_array = isinstance(probabilities, np.ndarray)
    if not is_array or probabilities.dtype != np.float32 or probabilities.ndim != 2:
        raise InvalidValue("probabilities", "not a float32 array [rows, classes]")
    # NaN compares false, so it fails here too; infinity fails in the sums.
    if probabilities.size and not probabilities.min() >= 0:
        raise InvalidValue("probabilities", f"{probabilities.min()} is not in 0 to 1")


def _check_sums(
    probabilities: FloatArray, *, tolerance: float = ROW_SUM_TOLERANCE, at_most: bool = False
) -> None:
    """Each row adds up to 1, or to 1 `at_most`."""
    sums = np.add.reduce(probabilities, axis=1)
    low = -tolerance if at_most else 1 - tolerance
    good = (sums >= low) & (sums <= 1 + tolerance)
    if not good.all():
        row = int(np.argmin(good))
        raise InvalidValue("probabilities", f"row {row} adds up to {sums[row]}, not to 1")


def _check_indices(indices: IntArray, shape: tuple[int, ...], classes: int) -> None:
    if not isinstance(indices, np.ndarray) or indices.dtype != np.int64 or indices.shape != shape:
        raise InvalidValue("indices", "not an int64 array with an index for each probability")
    if not 1 <= shape[1] <= classes:
        raise InvalidValue("indices", f"{shape[1]} kept of {classes} classes")
    if indices.size and not (indices.min() >= 0 and indices.max() < classes):
        raise InvalidValue("indices", f"{indices.min()} to {indices.max()} is not in 0 to {classes - 1}")
    if (indices[:, 1:] <= indices[:, :-1]).any():
        raise InvalidValue("indices", "not increasing within a row")


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
}
FROM_WIRE: dict[int, Encoding] = {int(number): encoding for encoding, number in TO_WIRE.items()}
