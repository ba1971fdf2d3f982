"""Label-distribution inference: how many of each class does a device hold?

Answers that state it are read. From others the adversary estimates it: its own shadows hold random mixtures
of classes, and the best linear estimate of a mixture h from an answer z is, with covariances over the shadows
and the noise s^2 in each number of the answer,

    sqrt h(z) = mean sqrt h + cov(sqrt h, z) (cov(z) + (s^2 + r) I)^-1 (z - mean z)

with a ridge r for how few shadows there are. The roots of shares tell small ones from none.

An error is half of the absolute differences between two histograms (total variation): 0 where the histogram
is known, 1 where it is all wrong. Who knows nothing says the mean histogram of the fleet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import Float64Array

_DRAWS = 1000  # of the bootstrap
_RIDGE = 0.3  # in units of the whole variance a shadow


@dataclass(frozen=True, kw_only=True)
class LabelDistributionResult:
    """How well histograms of private labels are told.

    Attributes:
        stated: Whether answers state the histogram.
        answers: How many answers the attack was counted on.
        error: Mean total variation distance from the truth.
        error_interval: 95 % interval.
        error_of_nothing: The same of the mean histogram, which needs no answer.
        advantage: The share of that error which the answers take away; 0 is knowing nothing.
        advantage_interval: 95 % interval.
    """

    stated: bool
    answers: int
    error: float
    error_interval: tuple[float, float]
    error_of_nothing: float
    advantage: float
    advantage_interval: tuple[float, float]


def estimated_histograms(
    shadows: Float64Array, histograms: Float64Array, answers: Float64Array, *, noise: float
) -> Float64Array:
    """The estimates [m, classes].

    Args:
        shadows: The adversary's own shadows, without noise [n, k].
        histograms: The shares of the classes in what they hold [n, classes].
        answers: What is judged [m, k].
        noise: The deviation of the noise in each number of an answer.
    """
    roots = np.sqrt(histograms)
    mean, shift = roots.mean(axis=0), shadows.mean(axis=0)
    centred = shadows - shift
    covariance = centred.T @ centred / len(shadows)
    ridge = _RIDGE * np.trace(covariance) / len(shadows) + noise**2 + 1e-12
    across = centred.T @ (roots - mean) / len(shadows)
    told = mean + (answers - shift) @ np.linalg.solve(covariance + ridge * np.eye(len(covariance)), across)
    told = np.maximum(told, 0) ** 2
    total = told.sum(axis=1, keepdims=True)
    return np.asarray(np.where(total > 0, told / np.where(total > 0, total, 1), histograms.mean(axis=0)))


def label_distribution_result(
    told: Float64Array, truth: Float64Array, knowing_nothing: Float64Array, *, stated: bool, seed: int
) -> LabelDistributionResult:
    """Hold estimates [m, classes] against the truth, and a histogram [classes] that needs no answer."""
    errors = np.abs(told - truth).sum(axis=1) / 2
    nothing = np.abs(knowing_nothing - truth).sum(axis=1) / 2
    drawn = np.random.default_rng(seed).integers(len(errors), size=(_DRAWS, len(errors)))
    means, of_nothing = errors[drawn].mean(axis=1), nothing[drawn].mean(axis=1)
    advantages = 1 - means / np.maximum(of_nothing, 1e-12)
    low, high = np.percentile(means, [2.5, 97.5])
    least, most = np.percentile(advantages, [2.5, 97.5])
    return LabelDistributionResult(
        stated=stated,
        answers=len(errors),
        error=float(errors.mean()),
        error_interval=(float(low), float(high)),
        error_of_nothing=float(nothing.mean()),
        advantage=float(1 - errors.mean() / max(nothing.mean(), 1e-12)),
        advantage_interval=(float(least), float(most)),
    )
