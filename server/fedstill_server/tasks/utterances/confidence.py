"""When an assistant may act on its student's answer: a temperature and a threshold, on held-out utterances.

The temperature makes confidence mean what it says (temperature scaling: Guo et al., 2017, arXiv:1706.04599).
The threshold is a rule of selective classification (Geifman and El-Yaniv, 2017, arXiv:1705.08500): the lowest
confidence c such that of the held-out answers at or above c, the share of right ones is at least `precision`
by its lower bound of one standard deviation (Wilson, 1927, doi:10.2307/2276774), of n answers and r
right ones,

    (r + 1/2 - sqrt(r (n - r) / n + 1/4)) / (n + 1)

so that few answers, and the choice of the lowest c, promise no more than they can tell. Where no c reaches
it, nothing is sure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.errors import InvalidValue
from scipy.special import softmax

from fedstill_server.calibration import fitted_temperature

PRECISION = 0.95
_FEWEST = 20  # answers that a precision is the share of


@dataclass(frozen=True)
class Confidence:
    """What the logits of a student of intents are divided by, and what is sure enough."""

    temperature: float
    threshold: float


@dataclass(frozen=True)
class Answered:
    """What an assistant that abstains below a confidence does on some utterances."""

    threshold: float
    coverage: float  # share of utterances that are answered
    precision: float  # share of the answers that are right; 1 where there are none


def fitted_confidence(logits: FloatArray, labels: IntArray, *, precision: float = PRECISION) -> Confidence:
    """Fitted to logits [n, classes] and labels [n] of utterances that the student never learned."""
    if not 0 < precision <= 1:
        raise InvalidValue("precision", f"{precision}; give a share above 0, up to 1")
    if not len(labels):
        raise InvalidValue("labels", "none; confidence is fitted to held-out utterances")
    temperature = fitted_temperature(logits, labels)
    confidence, right = _answers(logits, labels, temperature)
    return Confidence(temperature, _threshold(confidence, right, precision))


def abstaining(
    logits: FloatArray, labels: IntArray, *, temperature: float, thresholds: list[float]
) -> list[Answered]:
    """At each threshold, how many utterances are answered and how many answers are right."""
    confidence, right = _answers(logits, labels, temperature)
    found = []
    for threshold in thresholds:
        sure = confidence >= threshold
        share = float(right[sure].mean()) if sure.any() else 1.0
        found.append(Answered(threshold, float(sure.mean()), share))
    return found


def _answers(logits: FloatArray, labels: IntArray, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """The confidence of each answer, and whether it is right."""
    chances = softmax(logits.astype(np.float64) / temperature, axis=-1)
    return chances.max(axis=-1), chances.argmax(axis=-1) == labels


def _threshold(confidence: np.ndarray, right: np.ndarray, precision: float) -> float:
    order = np.argsort(-confidence, kind="stable")
    answers = np.arange(1, len(order) + 1)
    hits = np.cumsum(right[order])
    share = (hits + 0.5 - np.sqrt(hits * (answers - hits) / answers + 0.25)) / (answers + 1)
    # Answers of one confidence are given all together or not at all.
    last_of_its_kind = np.append(np.diff(confidence[order]) != 0, True)
    holds = np.flatnonzero((share >= precision) & last_of_its_kind & (answers >= min(_FEWEST, len(order))))
    return float(confidence[order][holds[-1]]) if len(holds) else 1.0
