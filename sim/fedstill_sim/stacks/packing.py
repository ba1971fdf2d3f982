"""Answers as columns: what a worker keeps of its devices between the passes of a fold.

Soft labels of whole rows are kept as their codes, two to a byte where they have at most four bits; everything
else as it is. What comes back is equal to the bit, since the codes of decoded soft labels are those that they
were decoded from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray
from fedstill_proto.messages import PrivateStatistics
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_proto.soft_labels.gaussian import GaussianSoftLabels
from fedstill_proto.soft_labels.label_arrays import SoftLabels, TopKSoftLabels, unchecked_dense
from fedstill_proto.soft_labels.largest_remainder import dequantize, quantize
from fedstill_proto.soft_labels.levels import Levels

Arrays = dict[str, npt.NDArray[Any]]

_RAGGED = ("present_classes", "class_examples", "answered", "features")
_NAMED = ("parameters", "control_variates")


def packed(answers: Sequence[PrivateStatistics], codec: SoftLabelCodec | None) -> Arrays:
    """The answers [n] of devices of one family to one task, as arrays by name.

    Args:
        answers: The answers, as they were decoded.
        codec: That of the task's request; None where answers hold no soft labels.
    """
    arrays: Arrays = {"answers": np.array(len(answers))}
    if not answers:
        return arrays
    first = answers[0]
    if codec is not None and first.soft_labels is not None:
        arrays |= _packed_labels([_labels(one) for one in answers], codec)
    for name in _RAGGED:
        if getattr(first, name) is not None:
            arrays |= _columns(name, [getattr(one, name) for one in answers])
    arrays["examples"] = np.array([one.examples for one in answers], np.int64)
    for name in _NAMED:
        for parameter in getattr(first, name):
            arrays[f"{name}/{parameter}"] = np.stack([getattr(one, name)[parameter] for one in answers])
    return arrays


def unpacked(arrays: Arrays, codec: SoftLabelCodec | None) -> Iterator[PrivateStatistics]:
    """The answers that `packed` made arrays of."""
    count = int(arrays["answers"])
    if count == 0:
        return
    labels = (
        _unpacked_labels(arrays, codec) if codec is not None and "labels/rows" in arrays else [None] * count
    )
    ragged = {name: _parts(arrays, name) for name in _RAGGED if f"{name}/rows" in arrays}
    named = {name: _of_prefix(arrays, f"{name}/") for name in _NAMED}
    for place in range(count):
        own: dict[str, Any] = {name: parts[place] for name, parts in ragged.items()}
        own |= {name: {key: array[place] for key, array in of.items()} for name, of in named.items()}
        yield PrivateStatistics(soft_labels=labels[place], examples=int(arrays["examples"][place]), **own)


def _labels(answer: PrivateStatistics) -> SoftLabels:
    assert answer.soft_labels is not None  # as in the first answer to the same task
    return answer.soft_labels


def _columns(name: str, parts: Sequence[npt.NDArray[Any]]) -> Arrays:
    """Arrays one after the other, and how many rows each has."""
    return {f"{name}/rows": np.array([len(part) for part in parts]), f"{name}/values": np.concatenate(parts)}


def _parts(arrays: Arrays, name: str) -> list[npt.NDArray[Any]]:
    return np.split(arrays[f"{name}/values"], np.cumsum(arrays[f"{name}/rows"])[:-1])


def _of_prefix(arrays: Arrays, prefix: str) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _packed_labels(labels: Sequence[SoftLabels], codec: SoftLabelCodec) -> Arrays:
    if isinstance(labels[0], TopKSoftLabels):
        kept = [one for one in labels if isinstance(one, TopKSoftLabels)]
        arrays = _columns("labels", [one.probabilities for one in kept])
        arrays["labels/classes"] = np.array(kept[0].classes)
        return arrays | _columns("indices", [one.indices for one in kept])
    arrays = _columns("labels", [one.dense() for one in labels])
    values = arrays["labels/values"]
    arrays["labels/classes"] = np.array(values.shape[1])
    arrays["labels/values"] = _codes(values, codec)
    return arrays


def _codes(values: FloatArray, codec: SoftLabelCodec) -> npt.NDArray[Any]:
    """The codes of decoded soft labels [rows, classes]; the soft labels themselves where they have none."""
    if codec.encoding is Encoding.UINT8:
        return quantize(values)
    if codec.encoding is not Encoding.LEVELS:
        return values
    codes = codec.levels(unchecked_dense(values)).codes
    if codec.bits > 4:
        return codes
    flat = np.append(codes.reshape(-1), np.zeros(codes.size % 2, np.uint8))
    return flat[::2] | (flat[1::2] << 4)


def _values(codes: npt.NDArray[Any], classes: int, codec: SoftLabelCodec) -> FloatArray:
    """The soft labels [rows, classes] whose codes `_codes` made."""
    if codec.encoding is Encoding.UINT8:
        return dequantize(codes)
    if codec.encoding is not Encoding.LEVELS:
        return codes
    if codec.bits <= 4:
        flat = np.empty(2 * len(codes), np.uint8)
        flat[::2], flat[1::2] = codes & 15, codes >> 4
        codes = flat[: len(flat) // classes * classes].reshape(-1, classes)
    return Levels(codes, classes, codec.bits, codec.grid).soft_labels().dense()


def _unpacked_labels(arrays: Arrays, codec: SoftLabelCodec) -> list[SoftLabels]:
    classes = int(arrays["labels/classes"])
    if "indices/rows" in arrays:
        both = zip(_parts(arrays, "indices"), _parts(arrays, "labels"), strict=True)
        return [TopKSoftLabels(indices, said, classes) for indices, said in both]
    arrays = {**arrays, "labels/values": _values(arrays["labels/values"], classes, codec)}
    if codec.encoding is Encoding.GAUSSIAN:
        return [GaussianSoftLabels(said) for said in _parts(arrays, "labels")]
    return [unchecked_dense(said) for said in _parts(arrays, "labels")]
