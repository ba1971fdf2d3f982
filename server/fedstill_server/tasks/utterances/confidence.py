"""When an assistant may act on its student's answer: a temperature and a threshold, on held-out utterances.

The temperature makes confidence mean what it says (temperature scaling: Guo et al., 2017, arXiv:1706.04599).
The threshold is a rule of selective classification (Geifman and El-Yaniv, 2017, arXiv:1705.08500): the lowest
confidence c such that of the held-out answers at or above c, the share of right ones is at least `precision`
by its lower bound of one standard deviation (Wilson, 1927, doi:10.2307/2276774), of n answers and r
right ones,

    (r + 1/2 - sqrt(r (n - r) / n + 1/4)) / (n + 1)

so that few answers, and the choice of the lowest c, promise no more than they can tell. Where no c reaches
it, nothing is sure. And of utterances that ask for nothing, and that no student learned either, no more than
SURE_OF_NOTHING may be at or above c. What is likeliest to ask for nothing is never sure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.errors import InvalidValue
from scipy.special import softmax

from fedstill_server.calibration import fitted_temperature

PRECISION = 0.95
SURE_OF_NOTHING = 0.015
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


def fitted_confidence(
    logits: FloatArray,
    labels: IntArray,
    *,
    precision: float = PRECISION,
    nothing: int | None = None,
    unasked: FloatArray | None = None,
) -> Confidence:
    """Fitted to logits [n, classes] and labels [n] of utterances that the student never learned.

    Args:
        logits: Of utterances.
        labels: What they mean.
        precision: The share of sure answers that are to be right.
        nothing: The class of what asks for nothing; None where there is none.
        unasked: Logits [m, classes] of utterances that ask for nothing.
    """
    if not 0 < precision <= 1:
        raise InvalidValue("precision", f"{precision}; give a share above 0, up to 1")
    asks = np.ones(len(labels), bool) if nothing is None else labels != nothing
    foreign = [part for part in (logits[~asks], unasked) if part is not None and len(part)]
    if not asks.any():
        raise InvalidValue("labels", "none; confidence is fitted to held-out utterances")
    temperature = fitted_temperature(logits[asks], labels[asks])
    confidence, right = _answers(logits[asks], labels[asks], temperature, nothing)
    threshold = _threshold(confidence, right, precision)
    if foreign:
        threshold = max(threshold, _above(_confidence(np.concatenate(foreign), temperature, nothing)))
    return Confidence(temperature, threshold)


def confidence_of_nothing(unasked: FloatArray, *, nothing: int | None) -> Confidence:
    """That of a student for which nothing is held out but what asks for nothing [m, classes]."""
    return Confidence(1.0, _above(_confidence(unasked, 1.0, nothing)))


def abstaining(
    logits: FloatArray,
    labels: IntArray,
    *,
    temperature: float,
    thresholds: list[float],
    nothing: int | None = None,
) -> list[Answered]:
    """At each threshold, how many utterances are answered and how many answers are right."""
    confidence, right = _answers(logits, labels, temperature, nothing)
    found = []
    for threshold in thresholds:
        sure = confidence >= threshold
        share = float(right[sure].mean()) if sure.any() else 1.0
        found.append(Answered(threshold, float(sure.mean()), share))
    return found


def _answers(
    logits: FloatArray, labels: IntArray, temperature: float, nothing: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """The confidence of each answer, and whether it is right."""
    return _confidence(logits, temperature, nothing), logits.argmax(axis=-1) == labels


def _confidence(logits: FloatArray, temperature: float, nothing: int | None) -> np.ndarray:
    """The confidence of each answer [n]: below every threshold where nothing is asked."""
    confidence = np.asarray(softmax(logits.astype(np.float64) / temperature, axis=-1).max(axis=-1))
    return confidence if nothing is None else np.where(logits.argmax(axis=-1) == nothing, -1.0, confidence)


def _above(confidence: np.ndarray) -> float:
    """The lowest threshold at or above which are at most SURE_OF_NOTHING of some confidences."""
    most = int(SURE_OF_NOTHING * len(confidence))
    highest = np.sort(confidence)[::-1]
    return (
        float(np.clip(np.nextafter(np.float32(highest[most]), np.float32(2)), 0.0, 1.0))
        if len(highest)
        else 0.0
    )


def _threshold(confidence: np.ndarray, right: np.ndarray, precision: float) -> float:
    order = np.argsort(-confidence, kind="stable")
    answers = np.arange(1, len(order) + 1)
    hits = np.cumsum(right[order])
    share = (hits + 0.5 - np.sqrt(hits * (answers - hits) / answers + 0.25)) / (answers + 1)
    # Answers of one confidence are given all together or not at all.
    last_of_its_kind = np.append(np.diff(confidence[order]) != 0, True)
    holds = np.flatnonzero((share >= precision) & last_of_its_kind & (answers >= min(_FEWEST, len(order))))
    return float(confidence[order][holds[-1]]) if len(holds) else 1.0
