"""Whether a student's confidence means what it says.

ECE (Naeini et al. 2015; Guo et al. 2017, arXiv 1706.04599): over bins of equal width of the top probability,

    sum_b n_b / n |accuracy_b - confidence_b|

Brier score (Brier 1950): mean over examples of sum_c (p_c - 1[c is the label])^2. Temperature scaling (Guo et
al.): the T that minimizes the negative log-likelihood of softmax(z / T) on held-out examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

BINS = 15
_TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Examples whose top probability is in (low, high]."""

    low: float
    high: float
    examples: int
    accuracy: float
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How well confidence matches accuracy at one temperature.

    Shares are from 0 to 1, the log-likelihood is in nats.
    """

    temperature: float
    accuracy: float
    ece: float
    brier: float
    negative_log_likelihood: float
    bins: tuple[Bin, ...]


def calibration(logits: FloatArray, labels: IntArray, *, temperature: float = 1.0) -> Calibration:
    """Measure the calibration of softmax(logits / temperature).

    Args:
        logits: [n, classes].
        labels: [n].
        temperature: What the logits are divided by.
    """
    scaled = logits.astype(np.float64) / temperature
    probabilities = softmax(scaled, axis=-1)
    bins = reliability(probabilities, labels)
    goals = np.eye(logits.shape[1])[labels]
    return Calibration(
        temperature=temperature,
        accuracy=float((logits.argmax(-1) == labels).mean()),
        ece=calibration_error(bins),
        brier=float(((probabilities - goals) ** 2).sum(axis=-1).mean()),
        negative_log_likelihood=float(-log_softmax(scaled, axis=-1)[np.arange(len(labels)), labels].mean()),
        bins=bins,
    )


def reliability(probabilities: np.ndarray, labels: IntArray, *, bins: int = BINS) -> tuple[Bin, ...]:
    """The bins that hold examples, from unsure to sure."""
    return bins_of(probabilities.max(axis=-1), probabilities.argmax(axis=-1) == labels, bins=bins)


def bins_of(confidence: np.ndarray, right: np.ndarray, *, bins: int = BINS) -> tuple[Bin, ...]:
    """The same of top probabilities [n], and whether they are those of the right answer [n]."""
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return tuple(
        Bin(
            low=b / bins,
            high=(b + 1) / bins,
            examples=int((place == b).sum()),
            accuracy=float(right[place == b].mean()),
            confidence=float(confidence[place == b].mean()),
        )
        for b in range(bins)
        if (place == b).any()
    )


def calibration_error(bins: Sequence[Bin]) -> float:
    """The expected calibration error of bins."""
    examples = sum(part.examples for part in bins)
    return sum(part.examples * abs(part.accuracy - part.confidence) for part in bins) / max(examples, 1)


def fitted_temperature(logits: FloatArray, labels: IntArray) -> float:
    """The temperature of the lowest negative log-likelihood, from 0.05 to 20.

    Args:
        logits: [n, classes] of examples that the student has not learned.
        labels: [n].
    """
    exact = logits.astype(np.float64)
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        return float(-log_softmax(exact / np.exp(log_temperature), axis=-1)[rows, labels].mean())

    optimum = minimize_scalar(loss, bounds=tuple(np.log(_TEMPERATURES)), method="bounded")
    return float(np.exp(optimum.x))
