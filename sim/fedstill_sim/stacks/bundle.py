"""Arrays under any names as one array of bytes, as a keeper keeps them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]

_BUNDLE = "bundle"


def bundled(arrays: Arrays) -> dict[str, npt.NDArray[np.uint8]]:
    """All of the arrays in one."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return {_BUNDLE: np.frombuffer(buffer.getbuffer(), np.uint8)}


def opened(kept: Arrays) -> dict[str, npt.NDArray[Any]]:
    """What `bundled` made one array of."""
    with np.load(io.BytesIO(kept[_BUNDLE].tobytes()), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
