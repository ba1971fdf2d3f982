"""An attack on what devices release, which bounds their epsilon from below: a smaller promise is false.

Two neighbouring private sets lead to two vectors. The attack sees one release and guesses which of the two it
belongs to, by its place along the line between them, which no test beats for Gaussian noise (Neyman and
Pearson 1933). Where a mechanism is (epsilon, delta)-private, any guess has P(guess 1 | 1) <= e^epsilon
P(guess 1 | 0) + delta. From many releases, with Clopper and Pearson's (1934) bounds of both probabilities,
each at half of the error probability:

    epsilon >= log((P_low(guess 1 | 1) - delta) / P_high(guess 1 | 0))

The threshold is chosen on one half of the releases and counted on the other, so that the bound holds for it.
(Jagielski et al. 2020, arXiv 2006.07709; Nasr et al. 2021, arXiv 2101.04535.)
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
    half = releases // 2
    best, threshold = 0.0, math.inf
    for at in np.quantile(of_one[:half], np.linspace(0.001, 0.999, 400)):
        bound = _bound(of_one[:half], of_other[:half], at, delta=delta, doubt=doubt)
        if bound > best:
            best, threshold = bound, float(at)
    return _bound(of_one[half:], of_other[half:], threshold, delta=delta, doubt=doubt)


def _bound(one: Float64Array, other: Float64Array, at: float, *, delta: float, doubt: float) -> float:
    from scipy.stats import beta

    hits, alarms = int((one >= at).sum()), int((other >= at).sum())
    least = float(beta.ppf(doubt / 2, hits, len(one) - hits + 1)) if hits else 0.0
    most = float(beta.ppf(1 - doubt / 2, alarms + 1, len(other) - alarms)) if alarms < len(other) else 1.0
    return max(0.0, math.log((least - delta) / most)) if least > delta else 0.0
