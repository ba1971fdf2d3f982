"""Soft labels in numpy and on the wire: dense, or the top k classes and a rest bucket.

Quantization to uint8 is by largest remainder: a row is cut into 255 equal shares, each class gets the whole
shares in its probability, and what is left over goes to the largest fractions. The codes of a row therefore
add up to exactly 255, what is decoded is a distribution as it stands, and no probability moves by as much as
1/255, however many classes there are. (Rounding each class on its own errs by half of that, but a row's sum
then drifts by classes/510 and must be renormalized, which moves a large probability by up to classes/510.)
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.v1 import fedstill_pb2 as pb

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

# How far a float row may add up beside 1; float32 softmax over a million classes stays well inside.
ROW_SUM_TOLERANCE = 1e-3
SHARES = 255  # of a row of probability, in uint8 codes
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
        if self.rows:
            sums = np.add.reduce(self.probabilities, axis=1)
            _check_sums(sums, low=1 - ROW_SUM_TOLERANCE)

    @property
    def rows(self) -> int:
        return self.probabilities.shape[0]

    @property
    def classes(self) -> int:
        return self.probabilities.shape[1]

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
        if self.rows:
            everything = self.k == self.classes
            sums = np.add.reduce(self.probabilities, axis=1)
            _check_sums(sums, low=1 - ROW_SUM_TOLERANCE if everything else -ROW_SUM_TOLERANCE)

    @property
    def rows(self) -> int:
        return self.probabilities.shape[0]

    @property
    def k(self) -> int:
        return self.probabilities.shape[1]

    @property
    def rest(self) -> FloatArray:
        """Probability of all other classes together, [rows]."""
        return np.clip(np.float32(1) - self.probabilities.sum(axis=1, dtype=np.float32), 0, 1)

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
    - FLOAT16: p/2048 + 2**-24 (half a unit in the last place of a float16, and its smallest step)
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
        values = _shares(probabilities).tobytes()
    else:
        # Means may round to just above 1; the tolerance is in the sum, not in a probability.
        values = np.clip(probabilities, 0, 1).astype(_FLOAT_DTYPES[encoding]).tobytes()
    rows, classes = probabilities.shape
    return pb.SoftLabels(encoding=TO_WIRE[encoding], rows=rows, classes=classes, values=values)


def _encode_top_k(labels: TopKSoftLabels) -> pb.SoftLabels:
    buckets = np.concatenate([labels.probabilities, labels.rest[:, None]], axis=1)  # [rows, k+1]
    return pb.SoftLabels(
        encoding=pb.SOFT_LABEL_ENCODING_TOP_K,
        rows=labels.rows,
        classes=labels.classes,
        k=labels.k,
        indices=labels.indices.astype(_index_dtype(labels.classes)).tobytes(),
        values=_shares(buckets)[:, :-1].tobytes(),
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


def _shares(probabilities: FloatArray) -> npt.NDArray[np.uint8]:
    """Cut each row [rows, n] into 255 shares by largest remainder; earlier columns win ties."""
    exact = np.clip(probabilities, 0, 1, dtype=np.float64)
    exact *= SHARES / np.add.reduce(exact, axis=1, keepdims=True)
    codes = np.floor(exact)
    left_over = SHARES - np.add.reduce(codes, axis=1, keepdims=True)
    order = np.argsort(codes - exact, axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(codes.shape[1])[None, :], axis=1)
    codes += rank < left_over
    return codes.astype(np.uint8)


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
        raise WireError(
            f"{field}.classes", f"{message.rows} rows of {message.classes} classes are out of range"
        )
    if encoding is Encoding.TOP_K:
        return _decode_top_k(message, field)
    if message.k or message.indices:
        raise WireError(f"{field}.k", "k and indices belong to top-k only")
    decode = _decode_shares if encoding is Encoding.UINT8 else _decode_floats
    return decode(message, encoding, field)


def _decode_shares(message: pb.SoftLabels, encoding: Encoding, field: str) -> DenseSoftLabels:
    codes = _array(message.values, np.dtype(np.uint8), (message.rows, message.classes), f"{field}.values")
    sums = np.add.reduce(codes, axis=1, dtype=np.int64)
    if (sums != SHARES).any():
        row = int(np.argmax(sums != SHARES))
        raise WireError(f"{field}.values", f"row {row} adds up to {sums[row]} of {SHARES} shares")
    return _unchecked_dense(codes / np.float32(SHARES))


def _decode_floats(message: pb.SoftLabels, encoding: Encoding, field: str) -> DenseSoftLabels:
    shape = (message.rows, message.classes)
    stored = _array(message.values, _FLOAT_DTYPES[encoding], shape, f"{field}.values")
    probabilities = stored.astype(np.float32)
    try:
        if probabilities.size and not probabilities.max() <= 1:
            raise InvalidValue("probabilities", f"{probabilities.max()} is not in 0 to 1")
        labels = DenseSoftLabels(probabilities)
    except InvalidValue as error:
        raise WireError(f"{field}.values", error.problem) from None
    if encoding is Encoding.FLOAT16:
        sums = np.add.reduce(probabilities, axis=1, keepdims=True)
        return _unchecked_dense(probabilities / sums)
    return labels


def _decode_top_k(message: pb.SoftLabels, field: str) -> TopKSoftLabels:
    if not 1 <= message.k <= message.classes:
        raise WireError(f"{field}.k", f"{message.k} of {message.classes} classes")
    shape = (message.rows, message.k)
    stored = _array(message.indices, _index_dtype(message.classes), shape, f"{field}.indices")
    indices = stored.astype(np.int64)
    codes = _array(message.values, np.dtype(np.uint8), shape, f"{field}.values")
    try:
        labels = TopKSoftLabels(indices, codes / np.float32(SHARES), message.classes)
    except InvalidValue as error:
        place = "indices" if error.field == "indices" else "values"
        raise WireError(f"{field}.{place}", error.problem) from None
    return labels


def _array(
    data: bytes, dtype: np.dtype[np.generic], shape: tuple[int, int], field: str
) -> npt.NDArray[np.generic]:
    expected = shape[0] * shape[1] * dtype.itemsize
    if len(data) != expected:
        raise WireError(field, f"{len(data)} bytes, expected {expected} for {shape[0]} x {shape[1]}")
    return np.frombuffer(data, dtype).reshape(shape)


def _unchecked_dense(probabilities: FloatArray) -> DenseSoftLabels:
    """Labels whose rows are known to be distributions, without summing them once more."""
    labels = object.__new__(DenseSoftLabels)
    object.__setattr__(labels, "probabilities", probabilities)
    return labels


def _check_probabilities(probabilities: FloatArray) -> None:
    if (
        not isinstance(probabilities, np.ndarray)
        or probabilities.dtype != np.float32
        or probabilities.ndim != 2
    ):
        raise InvalidValue("probabilities", "not a float32 array [rows, classes]")
    # NaN compares false, so it fails here too; infinity fails in the sums.
    if probabilities.size and not probabilities.min() >= 0:
        raise InvalidValue("probabilities", f"{probabilities.min()} is not in 0 to 1")


def _check_sums(sums: FloatArray, *, low: float) -> None:
    if not (sums.min() >= low and sums.max() <= 1 + ROW_SUM_TOLERANCE):
        wrong = ~((sums >= low) & (sums <= 1 + ROW_SUM_TOLERANCE))
        row = int(np.argmax(wrong))
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


def _index_dtype(classes: int) -> np.dtype[np.generic]:
    if classes <= 1 << 8:
        return np.dtype("u1")
    return np.dtype("<u2") if classes <= 1 << 16 else np.dtype("<u4")


_FLOAT_DTYPES: dict[Encoding, np.dtype[np.generic]] = {
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
