"""The public set: examples that server and devices share, with labels if there are any.

Of text they are rows of the numbers of words, and their labels the words that come next.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import IntArray
from fedstill_proto.errors import FedstillError

from fedstill_server.config.fleet import FleetConfig


class DataError(FedstillError):
    """A file of examples is missing, or does not hold what it should."""


@dataclass(frozen=True, eq=False)
class Examples:
    """`x` [n, *input_shape] float32 and `y` [n] int64 or None; of text, both are int64 [n, places]."""

    x: npt.NDArray[Any]
    y: IntArray | None = None

    def __len__(self) -> int:
        return len(self.x)


def load_public(folder: Path, config: FleetConfig) -> Examples:
    """The public set of the run in `folder`."""
    return load_examples(folder / config.public_set, **_shape_of(config))


def load_test(folder: Path, config: FleetConfig) -> Examples | None:
    """The test set of the run in `folder`, if it has one."""
    if config.test_set is None:
        return None
    return load_examples(folder / config.test_set, **_shape_of(config), labels_needed=True)


def _shape_of(config: FleetConfig) -> dict[str, Any]:
    return {
        "input_shape": config.input_shape,
        "classes": config.classes,
        "text": config.text is not None,
    }


def load_examples(
    path: Path,
    *,
    input_shape: tuple[int, ...],
    classes: int,
    labels_needed: bool = False,
    text: bool = False,
) -> Examples:
    """Read x, and y where it is there, from an .npz file, and check them.

    text: x are the numbers of words, and a label is the word after each of a row.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if "x" not in file:
                raise DataError(f"{path}: no array 'x'; there are {', '.join(sorted(file)) or 'none'}")
            x = np.ascontiguousarray(file["x"])
            y = np.ascontiguousarray(file["y"]) if "y" in file else None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read as an .npz file of arrays ({error})") from None
    if x.shape[1:] != input_shape or len(x) == 0:
        raise DataError(
            f"{path}: x has shape {list(x.shape)}, expected [n, {', '.join(map(str, input_shape))}]"
        )
    x = _checked_words(path, x, classes) if text else _checked_numbers(path, x)
    if y is None:
        if labels_needed:
            raise DataError(f"{path}: no array 'y' of labels")
        return Examples(x)
    shape = x.shape if text else (len(x),)
    if y.shape != shape or y.dtype.kind not in "iu":
        raise DataError(f"{path}: y is {y.dtype} {list(y.shape)}, expected whole numbers {list(shape)}")
    if y.min() < 0 or y.max() >= classes:
        raise DataError(f"{path}: y holds {y.min()} to {y.max()}, expected 0 to {classes - 1}")
    return Examples(x, y.astype(np.int64))


def _checked_numbers(path: Path, x: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    try:
        numbers = np.ascontiguousarray(x, np.float32)
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: x is {x.dtype}, expected numbers ({error})") from None
    if not np.isfinite(numbers).all():
        raise DataError(f"{path}: x holds a value that is not finite")
    return numbers


def _checked_words(path: Path, x: npt.NDArray[Any], classes: int) -> IntArray:
    if x.dtype.kind not in "iu":
        raise DataError(f"{path}: x is {x.dtype}, expected the numbers of words")
    if x.min() < 0 or x.max() >= classes:
        raise DataError(f"{path}: x holds words {x.min()} to {x.max()}, expected 0 to {classes - 1}")
    return x.astype(np.int64)
