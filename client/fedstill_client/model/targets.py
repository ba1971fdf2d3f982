"""What a student's answers come to, whatever its target: soft labels, losses, right answers, and what apps
get.

Answers are logits [..., K]; beside single labels [..., *label_shape, 2], of each label (-z/2, z/2), and of a
regression's number its mean and log variance (see fedstill_proto.package.target).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import BoolArray, Float64Array, FloatArray
from fedstill_proto.package.target import NEAR, Target, TargetKind
from fedstill_proto.soft_labels.gaussian import GaussianSoftLabels
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels

from fedstill_client.model.label_means import softened

SoftAnswers = DenseSoftLabels | GaussianSoftLabels


def soft_labels(target: Target, answers: FloatArray, *, temperature: float) -> SoftAnswers:
    """Soft labels [rows * places] of answers [rows, *label_shape, K]; no temperature softens a Gaussian."""
    flat = answers.reshape(-1, answers.shape[-1])
    if target.is_regression:
        return GaussianSoftLabels(np.ascontiguousarray(flat, np.float32))
    return DenseSoftLabels(softened(flat, temperature))


def right_answers(target: Target, answers: FloatArray, labels: npt.NDArray[Any]) -> BoolArray:
    """Whether answers [..., K] are right of labels [...]: the likeliest is, or a mean is near the number."""
    if target.is_regression:
        return np.asarray(np.abs(answers[..., 0] - labels) <= NEAR)
    return np.asarray(answers.argmax(axis=-1) == labels)


def hard_losses(target: Target, answers: FloatArray, labels: npt.NDArray[Any]) -> Float64Array:
    """The loss of each label [...] under answers [..., K], in nats: cross-entropy, or a Gaussian's."""
    if not target.is_regression:
        return -np.take_along_axis(log_softmax(answers), labels[..., None], axis=-1)[..., 0]
    mean, log_variance = np.moveaxis(answers.astype(np.float64), -1, 0)
    with np.errstate(invalid="ignore", over="ignore"):  # a student that diverged has a loss of nan
        off = (mean - labels) ** 2 * np.exp(-log_variance)
    return np.asarray((math.log(2 * math.pi) + log_variance + off) / 2)


def log_softmax(logits: FloatArray) -> Float64Array:
    """log softmax(logits), [..., K]"""
    exact = logits.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):  # a student that diverged has a loss of nan
        exact = exact - exact.max(axis=-1, keepdims=True)
        return np.asarray(exact - np.log(np.exp(exact).sum(axis=-1, keepdims=True)))


def app_answers(target: Target, answers: FloatArray) -> FloatArray:
    """What an app gets of answers: class probabilities [n, K]; of several labels the probability of each [n,
    K]; of numbers mean and standard deviation [n, D, 2] in the user's units.
    """
    if target.is_regression:
        return target.in_units(answers)
    probabilities = softened(answers, 1.0)
    return probabilities[..., 1] if target.kind is TargetKind.MULTI_LABEL else probabilities
