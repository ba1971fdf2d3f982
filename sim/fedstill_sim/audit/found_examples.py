"""How well private examples were found, beside what the public set alone says of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import Float64Array, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class FoundExamples:
    """The best candidate for each private example.

    Attributes:
        found: The best correlation of a candidate with each private example [n].
        public: The best correlation of a public row with each, which needs no device [n].
        others: The correlation of the mean of the other private examples of its class with each, which says
            nothing of the example itself [n]; -1 where there are none.
        error: The largest difference, over its pixels, of each private example from the candidate that comes
            nearest by that measure [n].
    """

    found: Float64Array
    public: Float64Array
    others: Float64Array
    error: Float64Array

    @property
    def above(self) -> npt.NDArray[np.bool_]:
        """Which private examples were found better than any public row shows them [n]."""
        return self.found > self.public

    @property
    def above_all(self) -> npt.NDArray[np.bool_]:
        """Which were found better than public rows and the device's other examples show them [n]."""
        return self.above & (self.found > self.others)


def compare_found(
    candidates: Float64Array, private_x: FloatArray, labels: IntArray, public_x: FloatArray
) -> FoundExamples:
    """Hold candidates [m, pixels] against the private examples with their labels [n], beside the public set.

    The private examples are the judge's alone: for each it picks the best candidate and the best public row.
    """
    private, public = _flat(private_x), _flat(public_x)
    candidates = np.reshape(candidates, (-1, private.shape[1]))
    error = np.full(len(private), np.inf)
    for candidate in candidates:
        error = np.minimum(error, np.abs(private - candidate).max(axis=1))
    return FoundExamples(_best(private, candidates), _best(private, public), _others(private, labels), error)


def _others(private: Float64Array, labels: IntArray) -> Float64Array:
    """The correlation [n] of each example with the mean of the others of its class."""
    found = np.full(len(private), -1.0)
    for place, label in enumerate(labels):
        same = labels == label
        same[place] = False
        if same.any():
            found[place] = _best(private[place : place + 1], private[same].mean(axis=0, keepdims=True))[0]
    return found


def _best(private: Float64Array, others: Float64Array) -> Float64Array:
    if not len(others):
        return np.full(len(private), -1.0)
    return np.asarray((_unit(private) @ _unit(others).T).max(axis=1))


def _unit(x: Float64Array) -> Float64Array:
    centred = x - x.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12))


def _flat(x: FloatArray) -> Float64Array:
    return np.asarray(x).reshape(len(x), -1).astype(np.float64)
