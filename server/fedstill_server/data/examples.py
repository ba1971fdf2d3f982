"""Examples: the public set, which server and devices share, and what students are tested on."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray
from fedstill_proto.package.input_rule import InputRule
from fedstill_proto.package.target import SINGLE_LABEL, Target
from fedstill_proto.readers.classes import UNLABELLED

from fedstill_server.data.errors import ExamplesError
from fedstill_server.data.forms import AMOUNTS, ExampleForm


@dataclass(frozen=True, eq=False)
class Examples:
    """`x` [n, *input_shape] and `y` [n, *label_shape], int64 or of numbers float32; None without labels.

    In a public set a class may be UNLABELLED.
    """

    x: npt.NDArray[Any]
    y: npt.NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def labelled(self) -> Examples:
        """Those with a label, where some have none (UNLABELLED)."""
        if self.y is None or self.y.ndim != 1 or UNLABELLED not in self.y:
            return self
        rows = np.flatnonzero(self.y != UNLABELLED)
        return Examples(self.x[rows], self.y[rows])


def load_examples(
    path: Path,
    *,
    input_shape: tuple[int, ...],
    classes: int,
    labels_needed: bool = False,
    form: ExampleForm = AMOUNTS,
    rule: InputRule | None = None,
    target: Target = SINGLE_LABEL,
) -> Examples:
    """Read x, and y where it is there, from an .npz file, and check them.

    Args:
        path: The file.
        input_shape: Of one example.
        classes: How many there are; labels are 0 to classes - 1.
        labels_needed: Whether y has to be there.
        form: What examples are.
        rule: What a network reads of them, where the file holds them as they are given.
        target: What is said of them; numbers are in a network's units.

    Raises:
        ExamplesError: For a file that holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if "x" not in file:
                raise ExamplesError(f"{path}: no array 'x'; there are {', '.join(sorted(file)) or 'none'}")
            x = np.ascontiguousarray(file["x"])
            y = np.ascontiguousarray(file["y"]) if "y" in file else None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ExamplesError(f"{path}: cannot be read as an .npz file of arrays ({error})") from None
    rule = rule or InputRule()
    given_shape = rule.given_shape(input_shape)
    if x.shape[1:] != given_shape or (labels_needed and len(x) == 0):
        raise ExamplesError(
            f"{path}: x has shape {list(x.shape)}, expected [n, {', '.join(map(str, given_shape))}]"
        )
    x = rule.apply(form.checked(x, classes=classes, where=str(path)))
    if y is None:
        if labels_needed:
            raise ExamplesError(f"{path}: no array 'y' of labels")
        return Examples(x)
    shape = (len(x), *(target.label_shape or form.label_shape(input_shape)))
    if target.is_regression:
        return Examples(x, checked_numbers(y, shape, where=str(path)))
    if y.shape != shape or y.dtype.kind not in "iu":
        raise ExamplesError(f"{path}: y is {y.dtype} {list(y.shape)}, expected whole numbers {list(shape)}")
    least = 0 if labels_needed or y.ndim != 1 else UNLABELLED
    if y.min() < least or y.max() >= classes:
        raise ExamplesError(f"{path}: y holds {y.min()} to {y.max()}, expected 0 to {classes - 1}")
    return Examples(x, y.astype(np.int64))


def checked_numbers(y: npt.NDArray[Any], shape: tuple[int, ...], *, where: str) -> FloatArray:
    """Labels that are numbers, float32 of this shape and finite; raises ExamplesError."""
    if y.shape != shape or y.dtype.kind not in "iuf":
        raise ExamplesError(f"{where}: y is {y.dtype} {list(y.shape)}, expected numbers {list(shape)}")
    numbers = y.astype(np.float32)
    if not np.isfinite(numbers).all():
        row = int(np.argmin(np.isfinite(numbers).all(axis=1)))
        raise ExamplesError(f"{where}: y holds a value in row {row} that is not finite; remove or fill it")
    return numbers


def drawn_rows(examples: Examples, count: int, *, seed: int) -> Examples:
    """At most `count` of the rows, drawn with the seed, in their order."""
    if count >= len(examples):
        return examples
    rows = np.sort(np.random.default_rng([seed, 0x7E87]).permutation(len(examples))[:count])
    return Examples(examples.x[rows], None if examples.y is None else examples.y[rows])


def npz_of(examples: Examples) -> bytes:
    """Examples as the content of an .npz file."""
    buffer = io.BytesIO()
    labels: dict[str, Any] = {} if examples.y is None else {"y": examples.y}
    np.savez_compressed(buffer, x=examples.x, **labels)
    return buffer.getvalue()
