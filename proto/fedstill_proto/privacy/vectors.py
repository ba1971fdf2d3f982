"""The vectors that are released: what a device clips and noises, and the server reads, in one place.

    public rows      the shifts of the softened logits, row by row: the device's centred log p less that of
                     the student it was given [n K]
    class means      for each class: mean soft label less 1/K, and a 1; zeros where the device has no example
                     [K (K + 1)]
    parameters       how far the student moved from the one it was given [parameters]

The empty answer, of a device that learned nothing or has nothing, is all zeros each time.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fedstill_proto.arrays import Float64Array, FloatArray, IntArray


def shift_vector(shift: FloatArray, *, temperature: float) -> Float64Array:
    """The vector of public rows.

    Args:
        shift: How far the logits moved in the round [n, K] (see the client's logit_shift).
        temperature: What softens them.
    """
    softened = shift.astype(np.float64) / temperature
    centred: Float64Array = softened - softened.mean(axis=-1, keepdims=True)
    return centred.reshape(-1)


def class_vector(means: FloatArray, present: IntArray, *, classes: int) -> Float64Array:
    """The vector of class means.

    Args:
        means: The mean soft labels [m, K] of the classes that the device has.
        present: These classes [m].
        classes: K.
    """
    rows = np.zeros((classes, classes + 1))
    rows[present, :classes] = means.astype(np.float64) - 1 / classes
    rows[present, classes] = 1
    return rows.reshape(-1)


def moved_vector(trained: Mapping[str, FloatArray], start: Mapping[str, FloatArray]) -> Float64Array:
    """trained - start, parameter after parameter in the order of `start`."""
    return np.concatenate(
        [(trained[name].astype(np.float64) - array).reshape(-1) for name, array in start.items()]
    )


def shaped_like(student: Mapping[str, FloatArray], vector: Float64Array) -> dict[str, Float64Array]:
    """The parameters that `moved_vector` put one after another."""
    parts, at = {}, 0
    for name, array in student.items():
        parts[name] = vector[at : at + array.size].reshape(array.shape)
        at += array.size
    return parts
