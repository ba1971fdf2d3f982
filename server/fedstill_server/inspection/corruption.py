"""Accuracy where the input is not as it was in training: noise, blur and rotation (after Hendrycks and
Dietterich 2019, arXiv 1903.12261), each of growing severity.

Severities are in units of the test set: noise in its standard deviations, blur in pixels, rotation in
degrees. Blur and rotation are of the last two dimensions, and only for examples that have two or more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray
from scipy import ndimage

NOISE = (0.25, 0.5, 1.0)
BLUR_PIXELS = (0.5, 1.0, 1.5)
ROTATION_DEGREES = (10.0, 20.0, 30.0)

Answer = Callable[[FloatArray], FloatArray]  # examples to logits


@dataclass(frozen=True, kw_only=True)
class CorruptedAccuracy:
    """The accuracy under one corruption of one severity."""

    corruption: str
    severity: float
    unit: str
    accuracy: float


def corrupted_accuracies(
    answer: Answer, x: FloatArray, labels: IntArray, *, seed: int = 0
) -> list[CorruptedAccuracy]:
    """The accuracies of the student behind `answer` on corrupted examples [n, *shape]."""
    random = np.random.default_rng(seed)
    scale = float(x.std()) or 1.0
    trials: list[tuple[str, float, str, FloatArray]] = [
        ("noise", level, "standard deviations", noisy(x, scale=level * scale, random=random))
        for level in NOISE
    ]
    if x.ndim >= 3 and min(x.shape[-2:]) > 1:
        trials += [("blur", level, "pixels", blurred(x, pixels=level)) for level in BLUR_PIXELS]
        trials += [("rotation", level, "degrees", rotated(x, degrees=level)) for level in ROTATION_DEGREES]
    return [
        CorruptedAccuracy(
            corruption=name,
            severity=level,
            unit=unit,
            accuracy=float((answer(changed).argmax(-1) == labels).mean()),
        )
        for name, level, unit, changed in trials
    ]


def noisy(x: FloatArray, *, scale: float, random: np.random.Generator) -> FloatArray:
    changed: FloatArray = x + random.normal(0, scale, x.shape).astype(np.float32)
    return changed


def blurred(x: FloatArray, *, pixels: float) -> FloatArray:
    sigma = (0.0,) * (x.ndim - 2) + (pixels, pixels)
    changed: FloatArray = ndimage.gaussian_filter(x, sigma).astype(np.float32)
    return changed


def rotated(x: FloatArray, *, degrees: float) -> FloatArray:
    """Rotated about the middle; what comes in from outside is 0."""
    axes = (x.ndim - 1, x.ndim - 2)
    changed: FloatArray = ndimage.rotate(x, degrees, axes=axes, reshape=False, order=1).astype(np.float32)
    return changed
