"""The public set: examples that server and devices share, with labels if there are any."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fedstill_proto.errors import FedstillError
from fedstill_proto.soft_labels import FloatArray, IntArray


class DataError(FedstillError):
    """A file of examples is missing, or does not hold what it should."""


@dataclass(frozen=True, eq=False)
class Examples:
    """`x` [n, *input_shape] float32, and `y` [n] int64 or None."""

    x: FloatArray
    y: IntArray | None = None

    def __len__(self) -> int:
        return len(self.x)


def load_examples(
    path: Path, *, input_shape: tuple[int, ...], classes: int, labels_needed: bool = False
) -> Examples:
    """Read x, and y where it is there, from an .npz file, and check them."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if "x" not in file:
                raise DataError(f"{path}: no array 'x'; there are {', '.join(sorted(file)) or 'none'}")
            x = np.ascontiguousarray(file["x"], np.float32)
            y = np.ascontiguousarray(file["y"]) if "y" in file else None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read as an .npz file of arrays ({error})") from None
    if x.shape[1:] != input_shape or len(x) == 0:
        raise DataError(
            f"{path}: x has shape {list(x.shape)}, expected [n, {', '.join(map(str, input_shape))}]"
        )
    if not np.isfinite(x).all():
        raise DataError(f"{path}: x holds a value that is not finite")
    if y is None:
        if labels_needed:
            raise DataError(f"{path}: no array 'y' of labels")
        return Examples(x)
    if y.shape != (len(x),) or y.dtype.kind not in "iu":
        raise DataError(f"{path}: y is {y.dtype} {list(y.shape)}, expected whole numbers [{len(x)}]")
    if y.min() < 0 or y.max() >= classes:
        raise DataError(f"{path}: y holds {y.min()} to {y.max()}, expected 0 to {classes - 1}")
    return Examples(x, y.astype(np.int64))
