"""What a number of guesses proves, with its doubt: bounds of probabilities, and of epsilon from below.

Where a mechanism is (epsilon, delta)-private, any guess which of two neighbouring private sets an answer
comes from has P(guess 1 | 1) <= e^epsilon P(guess 1 | 0) + delta. From many guesses, with Clopper and
Pearson's (1934) bounds of both probabilities, each at half of the error probability:

    epsilon >= log((P_low(guess 1 | 1) - delta) / P_high(guess 1 | 0))

The threshold is chosen on one half of the answers and counted on the other, so that the bound holds for it.
(Jagielski et al. 2020, arXiv 2006.07709; Nasr et al. 2021, arXiv 2101.04535.) A larger epsilon than a promise
shows that the promise is false; a smaller one shows nothing but that this attack found no more.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import Float64Array

Release = Callable[[Float64Array, int], npt.NDArray[np.float64]]
"""(a vector [d], n) -> n releases of it: [n, d]."""


def epsilon_at_least(
    release: Release,
    one: Float64Array,
    other: Float64Array,
    *,
    releases: int,
    delta: float,
    doubt: float = 0.01,
) -> float:
    """Bound the epsilon of a mechanism from below.

    An answer is judged by its place along the line between the vectors, which no test beats for Gaussian
    noise (Neyman and Pearson 1933).

    Args:
        release: The mechanism.
        one: The vector [d] of an input.
        other: The vector [d] of a neighbouring input, as different as can be.
        releases: How many releases of each vector the attack sees.
        delta: The delta that the epsilon belongs to.
        doubt: The largest probability with which the bound may be wrong.

    Returns:
        The bound; 0 where the attack finds nothing.
    """
    line = (one - other) / max(float(np.linalg.norm(one - other)), 1e-300)
    of_one, of_other = (release(vector, releases) @ line for vector in (one, other))
    return epsilon_of_scores(of_one, of_other, delta=delta, doubt=doubt)


def epsilon_of_scores(one: Float64Array, other: Float64Array, *, delta: float, doubt: float = 0.01) -> float:
    """Bound epsilon from below by independent scores [n] and [m] of answers from two neighbouring inputs.

    Higher scores speak for `one`.
    """
    half, middle = len(one) // 2, len(other) // 2
    candidates = np.concatenate([one[:half], other[:middle]])
    thresholds = np.quantile(candidates, np.linspace(0.001, 0.999, 200))
    bounds = np.array([_bound(one[:half], other[:middle], at, delta=delta, doubt=doubt) for at in thresholds])
    # Of thresholds that are equally good, the one in the middle is the surest to be good again.
    threshold = float(np.median(thresholds[bounds >= bounds.max() - 1e-12]))
    return _bound(one[half:], other[middle:], threshold, delta=delta, doubt=doubt)


def interval_of_share(hits: int, of: int, *, doubt: float = 0.05) -> tuple[float, float]:
    """Clopper and Pearson's interval of a probability that showed `hits` times in `of` independent trials."""
    from scipy.stats import beta

    low = float(beta.ppf(doubt / 2, hits, of - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - doubt / 2, hits + 1, of - hits)) if hits < of else 1.0
    return low, high


def _bound(one: Float64Array, other: Float64Array, at: float, *, delta: float, doubt: float) -> float:
    # Each is one side of a two-sided interval of `doubt`, which is off that side with half of it.
    least = interval_of_share(int((one >= at).sum()), len(one), doubt=doubt)[0]
    most = interval_of_share(int((other >= at).sum()), len(other), doubt=doubt)[1]
    return max(0.0, math.log((least - delta) / most)) if least > delta else 0.0
