"""Examples that people bring: .npz files read without pickle, each array checked before it is used."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray
from fedstill_proto.errors import FedstillError
from fedstill_proto.package.artifact import StudentManifest
from fedstill_proto.package.target import Target
from fedstill_proto.readers.arrays import read_arrays
from fedstill_proto.readers.errors import DataError


class ExampleFileError(FedstillError):
    """A file of examples cannot be used; it holds the file, the array in it, and what is wrong."""

    def __init__(self, file: Path, array: str | None, problem: str) -> None:
        super().__init__(f"{file}{f': {array}' if array else ''}: {problem}")
        self.file = file
        self.array = array
        self.problem = problem

    def __reduce__(self) -> tuple[type[ExampleFileError], tuple[Path, str | None, str]]:
        return type(self), (self.file, self.array, self.problem)


def read_npz(file: Path, names: Collection[str]) -> dict[str, npt.NDArray[Any]]:
    """The arrays `names` of a .npz file; nothing in it is ever executed."""
    try:
        arrays = read_arrays(file)
    except DataError as error:
        raise ExampleFileError(file, None, str(error).removeprefix(f"{file}: ")) from None
    for name in names:
        if name not in arrays:
            held = ", ".join(arrays) or "nothing"
            raise ExampleFileError(file, name, f"is not in the file, which holds {held}.")
    return {name: arrays[name] for name in names}


def checked_examples(
    x: npt.NDArray[Any], *, input_shape: tuple[int, ...], file: Path, array: str
) -> FloatArray:
    """Examples [n, *input_shape] as float32: real numbers, all finite."""
    if x.dtype.kind not in "fiu":
        raise ExampleFileError(file, array, f"is of type {x.dtype}; give floats or integers.")
    if x.shape[1:] != input_shape or x.ndim == 0:
        expected = ", ".join(map(str, ("n", *input_shape)))
        raise ExampleFileError(file, array, f"has shape {list(x.shape)}; the student takes [{expected}].")
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is refused below
        converted = np.ascontiguousarray(x, np.float32)
    if not np.isfinite(converted).all():
        row = int(np.argmin(np.isfinite(converted.reshape(len(x), -1)).all(axis=1)))
        raise ExampleFileError(file, array, f"row {row} holds a value that is not a finite float32.")
    return converted


def checked_labels(
    y: npt.NDArray[Any], *, examples: int, classes: int, target: Target, file: Path, array: str
) -> npt.NDArray[Any]:
    """Labels [n, *label_shape] as a network learns them: class numbers, 0 or 1, or numbers."""
    taken, needed = ("iuf", "numbers") if target.is_regression else ("iu", "integers")
    if y.dtype.kind not in taken:
        raise ExampleFileError(file, array, f"is of type {y.dtype}; give {needed}.")
    if y.shape != (examples, *target.label_shape):
        of = f", each with {target.size} labels" if target.size else ""
        raise ExampleFileError(file, array, f"has shape {list(y.shape)}; there are {examples} examples{of}.")
    if target.is_regression:
        if not np.isfinite(y).all():
            row = int(np.argmin(np.isfinite(y).all(axis=1)))
            raise ExampleFileError(file, array, f"row {row} holds a value that is not finite.")
        return target.standardized(y)
    if examples and not 0 <= y.min() <= y.max() < classes:
        wrong = int(np.argmax(((y < 0) | (y >= classes)).reshape(examples, -1).any(axis=1)))
        raise ExampleFileError(file, array, f"row {wrong} is {y[wrong]}; classes are 0 to {classes - 1}.")
    return y.astype(np.int64)


def read_labelled(
    file: Path, manifest: StudentManifest, *, x: str, y: str
) -> tuple[FloatArray, npt.NDArray[Any]]:
    """What a network reads of the examples named `x`, and learns of the labels named `y`, of a .npz file."""
    arrays = read_npz(file, (x, y))
    given = checked_examples(arrays[x], input_shape=manifest.given_shape, file=file, array=x)
    examples = checked_examples(
        manifest.input_rule.apply(given), input_shape=manifest.input_shape, file=file, array=x
    )
    labels = checked_labels(
        arrays[y], examples=len(given), classes=manifest.classes, target=manifest.target, file=file, array=y
    )
    return examples, labels
