"""Wrist sensors of ten people at seven exercises, either arm (Burns et al. 2018, arXiv:1802.01489).

The package seglearn (BSD) brings them as a `.npy` that holds a pickle. It is read here, outside the product,
by a reader that makes plain arrays and nothing else, once the file's digest is the one that was looked into.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.errors import FedstillError

SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"
WINDOW = 128  # samples at 50 Hz, 2.56 seconds
BANDS = 8  # of the lowest frequencies
_MADE = {
    "numpy.core.multiarray _reconstruct": np._core.multiarray._reconstruct,
    "numpy ndarray": np.ndarray,
    "numpy dtype": np.dtype,
    "_codecs encode": codecs.encode,  # bytes, as Python 2 could read them
}


class WatchError(FedstillError):
    """The file is not the one that was looked into."""


class _ArraysAlone(pickle.Unpickler):
    """Makes arrays, and refuses whatever else a pickle asks for."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _MADE[f"{module} {name}"]
        except KeyError:
            raise WatchError(f"watch: the file asks for {module}.{name}, and holds arrays alone") from None


def watch_windows(path: Path) -> list[tuple[FloatArray, IntArray]]:
    """The windows of each arm, a person's two one after another: x float32 [windows, 78], y int64 [windows].

    A window overlaps the next one by half.

    Raises:
        WatchError: The file is another one.
    """
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        raise WatchError(f"{path}: its SHA-256 is {digest}, not {SHA256}: another version of seglearn?")
    file = io.BytesIO(content)
    np.lib.format.read_magic(file)
    np.lib.format.read_array_header_1_0(file)
    data = _ArraysAlone(file).load().item()
    arms: dict[tuple[int, int], list[tuple[FloatArray, int]]] = {}
    for series, label, person, side in zip(data["X"], data["y"], data["subject"], data["side"], strict=True):
        arms.setdefault((int(person), int(side)), []).append((series, int(label)))
    return [_windows(arms[arm]) for arm in sorted(arms)]


def _windows(recorded: list[tuple[FloatArray, int]]) -> tuple[FloatArray, IntArray]:
    xs, ys = [], []
    for series, label in recorded:
        starts = range(0, len(series) - WINDOW + 1, WINDOW // 2)
        xs += [features(series[start : start + WINDOW]) for start in starts]
        ys += [label] * len(starts)
    return np.stack(xs).astype(np.float32), np.array(ys, np.int64)


def features(window: FloatArray) -> FloatArray:
    """Describe a window [samples, 6] by mean, spread, ends, mean step and log energies of low bands: [78]."""
    bands = np.abs(np.fft.rfft(window - window.mean(axis=0), axis=0))[1 : BANDS + 1]
    parts = [
        window.mean(axis=0),
        window.std(axis=0),
        window.min(axis=0),
        window.max(axis=0),
        np.abs(np.diff(window, axis=0)).mean(axis=0),
        np.log1p(bands).ravel(),
    ]
    return np.concatenate(parts)
