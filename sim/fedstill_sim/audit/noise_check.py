"""Is the noise that a configuration promises really there? A test of several releases of one answer.

The same device answers the same task r times, with noise drawn anew; what differs between the answers y_1 ...
y_r [d] is noise and nothing else. With noise of deviation s in each number

    sum over i, j of (y_ij - mean_j)^2 / s^2    is chi-square with (r - 1) d degrees of freedom,
    the same of one number j                    is chi-square with r - 1,
    r |mean y|^2 / s^2                          is noncentral chi-square with d, and r C^2 / s^2 at most

where the answer itself is not longer than the clip C. Too little noise in all numbers, in some number, noise
that is used twice, and an answer that is not cut to its length each have a p-value of their own; of correct
noise, all of them together raise a false alarm with a probability of at most FALSE_ALARMS.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import Float64Array

FALSE_ALARMS = 0.01
_TESTS = 3


@dataclass(frozen=True, kw_only=True)
class NoiseResult:
    """What the releases of one answer say of their noise.

    Attributes:
        releases: How many releases there were.
        numbers: How many numbers each has.
        promised: The promised deviation of the noise in a number.
        found: The deviation that is found.
        p_all: The chance of so little noise in all, if it is what is promised.
        p_single: The chance that the quietest number is so quiet, times the count of numbers.
        p_clip: The chance of an answer so long, if it is cut to its length.
        missing: What is wrong, in words; empty where nothing is.
    """

    releases: int
    numbers: int
    promised: float
    found: float
    p_all: float
    p_single: float
    p_clip: float
    missing: str


def check_noise(releases: Float64Array, *, deviation: float, clip: float) -> NoiseResult:
    """Test releases [r, d] of one answer.

    Args:
        releases: The releases, in units of the answer.
        deviation: The promised deviation of the noise in each number.
        clip: The length that the answer is cut to.
    """
    from scipy.stats import chi2, ncx2

    many, numbers = releases.shape
    mean = releases.mean(axis=0)
    squares = ((releases - mean) ** 2).sum(axis=0) / deviation**2  # [d]
    p_all = float(chi2.cdf(squares.sum(), (many - 1) * numbers))
    p_single = min(1.0, numbers * float(chi2.cdf(squares.min(), many - 1)))
    length = many * float(mean @ mean) / deviation**2
    p_clip = float(ncx2.sf(length, numbers, many * clip**2 / deviation**2))
    found = deviation * float(np.sqrt(squares.sum() / ((many - 1) * numbers)))
    least = FALSE_ALARMS / _TESTS
    wrong = []
    if p_all < least or p_single < least:
        all_of_it = "all of it" if found == 0 else f"{1 - found / deviation:.0%} of it in all"
        where = all_of_it if p_all < least else "all or nearly all of it in some number"
        wrong.append(
            f"noise is missing: a deviation of {deviation:.3g} is promised, and {where} is not there"
        )
    if p_clip < least:
        wrong.append(f"an answer is longer than the clip of {clip:g} that the noise is made for")
    return NoiseResult(
        releases=many,
        numbers=numbers,
        promised=deviation,
        found=found,
        p_all=p_all,
        p_single=p_single,
        p_clip=p_clip,
        missing="; ".join(wrong),
    )
