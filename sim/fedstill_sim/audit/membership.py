"""Membership inference: was an example, or a whole private set, behind an answer?

The likelihood-ratio attack (LiRA: Carlini et al. 2022, arXiv 2112.03570) with shadow devices: of examples
like those of the watched device, each shadow holds a random half. For each example, the answers of shadows
that hold it and of those that do not are two Gaussians; the score of an answer is the logarithm of the ratio
of their densities, here with the covariance S that both share, and the noise s^2 added to it:

    score(z) = d (S + s^2 I)^-1 (z - m),    d = mean with - mean without,  m = halfway between

in the few directions in which the shadows' noiseless answers differ most. The adversary makes those up by
itself; the scores are counted on other shadows, whose answers have the noise that the configuration has.
The device as the unit is the same with two private sets of other devices' examples in place of with and
without, and one direction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import Float64Array

from fedstill_sim.audit.bounds import epsilon_of_scores

Members = npt.NDArray[np.bool_]
"""Which examples each shadow holds: [shadows, examples]."""

_DRAWS = 400  # of the bootstrap
_SHRINKAGE = 0.05  # of a covariance that is estimated from few shadows


@dataclass(frozen=True, kw_only=True)
class MembershipResult:
    """How well membership is guessed.

    Attributes:
        unit: "example", or "device" where a whole private set is replaced.
        answers: How many answers the attack was counted on.
        auc: Area under the curve of true over false positives; 0.5 is guessing.
        auc_interval: 95 % interval.
        true_positives_at_10: Share of members found where 10 % of others are taken for members.
        true_positives_at_1: The same at 1 %.
        advantage: True less false positive rate at a likelihood ratio of 1; 0 is guessing.
        advantage_interval: 95 % interval.
        epsilon: What is proved of epsilon from below, at 99 %; of single examples, for the one that the
            shadows show to be most exposed.
        curve: Points (false positives, true positives) of the curve.
    """

    unit: str
    answers: int
    auc: float
    auc_interval: tuple[float, float]
    true_positives_at_10: float
    true_positives_at_1: float
    advantage: float
    advantage_interval: tuple[float, float]
    epsilon: float
    curve: tuple[tuple[float, float], ...]


def likelihood_ratios(
    shadows: Float64Array, members: Members, answers: Float64Array, *, noise: float
) -> tuple[Float64Array, Float64Array]:
    """The scores of answers, and how exposed each example is.

    Args:
        shadows: The adversary's own shadows, without noise [n, k].
        members: What they hold [n, examples].
        answers: What is judged [m, k].
        noise: The deviation of the noise in each number of an answer.

    Returns:
        Scores [m, examples], and the squared distance of the two Gaussians of each example [examples].
    """
    held = members.astype(np.float64)
    with_it = held.T @ shadows / np.maximum(held.sum(axis=0), 1)[:, None]
    without = (1 - held).T @ shadows / np.maximum((1 - held).sum(axis=0), 1)[:, None]
    covariance = np.atleast_2d(np.cov(shadows, rowvar=False))
    spread = np.trace(covariance) / len(covariance)
    eye = np.eye(len(covariance))
    covariance = (1 - _SHRINKAGE) * covariance + (_SHRINKAGE * spread + noise**2 + 1e-12) * eye
    between = with_it - without  # [examples, k]
    weights = np.linalg.solve(covariance, between.T)  # [k, examples]
    middle = ((with_it + without) / 2 * weights.T).sum(axis=1)
    return answers @ weights - middle, (between * weights.T).sum(axis=1)


def confidence_ratios(own: Float64Array, members: Members, seen: Float64Array) -> Float64Array:
    """The scores [m, examples] of what students say of each example itself, where students are seen.

    Args:
        own: The log odds that the adversary's students give to each example's label [n, examples].
        members: Which examples they learned [n, examples].
        seen: Those of the students that are judged [m, examples].
    """
    held = members.astype(np.float64)

    def gaussian(weight: Float64Array) -> tuple[Float64Array, Float64Array]:
        total = np.maximum(weight.sum(axis=0), 1)
        mean = (weight * own).sum(axis=0) / total
        # The examples' own deviations are of few shadows: all share one, too.
        variance = (weight * (own - mean) ** 2).sum(axis=0) / total
        return mean, (variance + variance.mean()) / 2 + 1e-9

    scores = np.zeros(seen.shape)
    for sign, weight in ((1, held), (-1, 1 - held)):
        mean, variance = gaussian(weight)
        scores -= sign * ((seen - mean) ** 2 / variance + np.log(variance)) / 2
    return scores


def examples_result(
    scores: Float64Array, members: Members, exposure: Float64Array, *, delta: float, seed: int
) -> MembershipResult:
    """Count scores [m, examples] of answers; an interval draws whole answers, whose scores hang together."""
    most = int(exposure.argmax())
    held = members[:, most]
    epsilon = epsilon_of_scores(scores[held, most], scores[~held, most], delta=delta)
    return _result("example", scores, members, epsilon=epsilon, seed=seed)


def device_result(one: Float64Array, other: Float64Array, *, delta: float, seed: int) -> MembershipResult:
    """Count scores [n] of answers from one private set, and [n] from another."""
    scores = np.concatenate([one, other])[:, None]
    members = np.concatenate([np.ones(len(one), bool), np.zeros(len(other), bool)])[:, None]
    epsilon = epsilon_of_scores(one, other, delta=delta)
    return _result("device", scores, members, epsilon=epsilon, seed=seed)


def _result(
    unit: str, scores: Float64Array, members: Members, *, epsilon: float, seed: int
) -> MembershipResult:
    generator = np.random.default_rng(seed)
    count = len(scores)
    drawn = [_figures(scores, members, _drawn(count, generator)) for _ in range(_DRAWS)]
    auc, advantage = _figures(scores, members, np.ones(len(scores)))
    false, true = _curve(scores, members, np.ones(len(scores)))
    shown = np.unique(np.concatenate([np.linspace(0, 1, 51), [0.01, 0.02, 0.05]]))
    at = np.interp(shown, false, true)
    low, high = np.percentile(np.array(drawn), [2.5, 97.5], axis=0)
    return MembershipResult(
        unit=unit,
        answers=len(scores),
        auc=auc,
        auc_interval=(float(low[0]), float(high[0])),
        true_positives_at_10=float(np.interp(0.1, false, true)),
        true_positives_at_1=float(np.interp(0.01, false, true)),
        advantage=advantage,
        advantage_interval=(float(low[1]), float(high[1])),
        epsilon=epsilon,
        curve=tuple((float(x), float(y)) for x, y in zip(shown, at, strict=True)),
    )


def _drawn(count: int, generator: np.random.Generator) -> Float64Array:
    """How often each of `count` answers is drawn, when as many are drawn with replacement."""
    return np.bincount(generator.integers(count, size=count), minlength=count).astype(np.float64)


def _figures(scores: Float64Array, members: Members, weight: Float64Array) -> tuple[float, float]:
    """Area under the curve, and advantage at a ratio of 1, with a weight for each answer."""
    false, true = _curve(scores, members, weight)
    held, rest = members * weight[:, None], ~members * weight[:, None]
    positive = scores > 0
    hits = (held * positive).sum() / max(held.sum(), 1e-12)
    alarms = (rest * positive).sum() / max(rest.sum(), 1e-12)
    return float(np.trapezoid(true, false)), float(hits - alarms)


def _curve(scores: Float64Array, members: Members, weight: Float64Array) -> tuple[Float64Array, Float64Array]:
    """False and true positive rates, from the highest threshold to the lowest."""
    order = np.argsort(-scores, axis=None, kind="stable")
    weights = np.broadcast_to(weight[:, None], scores.shape).reshape(-1)[order]
    held = members.reshape(-1)[order]
    true, false = (np.concatenate([[0.0], np.cumsum(weights * which)]) for which in (held, ~held))
    return false / max(false[-1], 1e-12), true / max(true[-1], 1e-12)
