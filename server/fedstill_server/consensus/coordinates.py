"""Soft labels as what a server adds up and moves along: a vector for each public row, whatever the target.

    classes    log p less its mean over the classes [K]; softmax leads back
    labels     the same of each label's two chances [K, 2], side by side
    numbers    mean and log variance of each Gaussian [D, 2], side by side

What devices answer, how far they went from their start, is summed. Of classes and labels that is the shift
itself, and its mean over the rows says how often a device meets a class, which is taken off. Of numbers, of
which a device answers d = m - m_s and l = log v - log v_s, the mixture of all devices is the consensus, by
the law of total variance:

    mean m_s + E[d],    variance v_s E[e^l] + E[d^2] - E[d]^2

so d, e^l - 1 and d^2 are summed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import Float64Array, FloatArray
from fedstill_proto.package.target import Target

_LEAST_RATIO = 1e-3  # of variances: that of a mixture whose terms were cut by a fold


@dataclass(frozen=True)
class Coordinates:
    """The coordinates of a fleet's public rows.

    Attributes:
        target: What students say.
        classes: Numbers of an answer: of one class, or 2.
    """

    target: Target
    classes: int

    @property
    def places(self) -> int:
        """Answers of a row."""
        return self.target.size or 1

    @property
    def width(self) -> int:
        """Numbers of a row."""
        return self.places * self.classes

    @property
    def summed_width(self) -> int:
        """Numbers of a row that are summed."""
        return 3 * self.places if self.target.is_regression else self.width

    def of(self, soft_labels: npt.NDArray[np.float32], *, least: float) -> Float64Array:
        """The coordinates [n, width] of soft labels [n * places, classes]; `least` as in centred_logits."""
        if self.target.is_regression:
            return soft_labels.astype(np.float64).reshape(-1, self.width)
        return centred_logits(soft_labels, least=least).reshape(-1, self.width)

    def softened(self, coordinates: Float64Array | FloatArray, *, sharpen: float = 1.0) -> FloatArray:
        """The soft labels [n * places, classes] of coordinates [n, width]."""
        if self.target.is_regression:
            return coordinates.reshape(-1, self.classes).astype(np.float32)
        logits = coordinates.reshape(-1, self.classes) / np.float32(sharpen)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        soft: FloatArray = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
        return soft

    def summed(self, moved: npt.NDArray[np.float32], *, least: float) -> Float64Array:
        """What is summed of a device's answer, how far it moved [n * places, classes]: [n, summed_width]."""
        if not self.target.is_regression:
            return self.of(moved, least=least)
        mean, log_variance = moved.astype(np.float64).reshape(-1, self.places, 2).transpose(2, 0, 1)
        return np.concatenate([mean, np.expm1(log_variance), mean * mean], axis=1)

    def summed_stack(self, moved: npt.NDArray[np.float32], *, least: float) -> Float64Array:
        """The same of several devices' answers [devices, n * places, classes], which are no numbers."""
        return centred_logits(moved, least=least).reshape(len(moved), -1, self.width)

    def way(self, mean: Float64Array, now: npt.NDArray[np.floating]) -> Float64Array:
        """How far rows at `now` [n, width] are to go, of the mean [n, summed_width] of what was summed."""
        if not self.target.is_regression:
            return np.asarray(mean - mean.mean(axis=0))
        moved, ratio, squares = mean.reshape(-1, 3, self.places).transpose(1, 0, 2)
        variance = np.exp(now.astype(np.float64).reshape(-1, self.places, 2)[..., 1])
        disagreement = np.maximum(squares - moved * moved, 0)
        log_ratio = np.log(np.maximum(1 + ratio + disagreement / variance, _LEAST_RATIO))
        return np.stack([moved, log_ratio], axis=-1).reshape(-1, self.width)


def centred_logits(soft_labels: npt.NDArray[np.float32], *, least: float) -> Float64Array:
    """log p, less its mean over the classes; probabilities below `least` count as that."""
    logits = np.log(np.maximum(soft_labels.astype(np.float64), least))
    centred: Float64Array = logits - logits.mean(axis=-1, keepdims=True)
    return centred
