"""The discrete Gaussian (Canonne, Kamath and Steinke 2020, arXiv 2004.00010) with fixed widths.

    P(k) = exp(-k^2 / (2 sigma^2)) / sum_j exp(-j^2 / (2 sigma^2)),    sigma = SIGMA_STEPS / sqrt(parts)

`parts` is 1, but where devices add a part of the noise each, so that their sum has all of it (see
shared_noise.py).

Added to a vector of whole numbers that another input moves by d steps at most (L2), it is rho-zCDP with
rho = d^2 / (2 sigma^2) (their theorem 14). The paper draws by rejection from fair bits; with a fixed sigma
the table of the distribution is short, and a draw is one look into it: the number of entries that 128 fair
bits are not below. The table is made of Python's integers, with 192 bits behind the point; what is left out
beyond 12 sigma has a chance of 2^-103. A draw is within 2^-90 of exact (total variation): over all numbers
that a device ever sends, that adds less than 1e-18 to delta.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

from fedstill_proto.privacy.random_bits import RandomBits

SIGMA_STEPS = 4096
LARGEST_NOISE = 12 * SIGMA_STEPS
_POINT = 192  # bits behind the point
_HALF = 64

Uint64Array = npt.NDArray[np.uint64]


def largest_noise(parts: int) -> int:
    """The largest draw, either way."""
    return LARGEST_NOISE if parts == 1 else 12 * SIGMA_STEPS // math.isqrt(parts) + 12


def discrete_gaussian(count: int, *, bits: RandomBits, parts: int = 1) -> npt.NDArray[np.int64]:
    """Independent draws [count] with the standard deviation SIGMA_STEPS / sqrt(parts) (within 1e-9 of it)."""
    upper, lower, signs = bits(count), bits(count), bits(count)
    high, low = _table(parts)
    magnitudes = np.searchsorted(high, upper, side="right")
    first = np.searchsorted(high, upper, side="left")
    # The upper halves are the same once in 2^48 draws; then the lower ones tell.
    for place in np.flatnonzero(first < magnitudes):
        tied = low[first[place] : magnitudes[place]]
        magnitudes[place] = first[place] + np.searchsorted(tied, lower[place], side="right")
    magnitudes = np.minimum(magnitudes, largest_noise(parts))
    return np.where(signs & np.uint64(1), -magnitudes, magnitudes).astype(np.int64)


@functools.lru_cache(maxsize=8)
def _table(parts: int = 1) -> tuple[Uint64Array, Uint64Array]:
    """P(|draw| <= k) of k = 0 .. largest_noise in 2^-128ths: the upper and the lower 64 bits."""
    sums = list(_cumulated(parts))
    whole = sums[-1]
    shares = [min((total << (2 * _HALF)) // whole, (1 << (2 * _HALF)) - 1) for total in sums]
    mask = (1 << _HALF) - 1
    high = np.array([total >> _HALF for total in shares], np.uint64)
    return high, np.array([total & mask for total in shares], np.uint64)


def _cumulated(parts: int) -> list[int]:
    """Sums of exp(-j^2 / (2 sigma^2)) over |j| <= k, in fixed point.

    exp(-(k+1)^2 / (2 sigma^2)) is exp(-k^2 / (2 sigma^2)) times a ratio, and so is the next ratio.
    """
    square = _exponential(parts, SIGMA_STEPS**2)  # exp(-1 / sigma^2)
    ratio = _exponential(parts, 2 * SIGMA_STEPS**2)
    weight = 1 << _POINT
    sums = [weight]
    for _ in range(largest_noise(parts)):
        weight = (weight * ratio) >> _POINT
        ratio = (ratio * square) >> _POINT
        sums.append(sums[-1] + 2 * weight)
    return sums


def _exponential(numerator: int, denominator: int) -> int:
    """exp(-numerator / denominator) in fixed point, by its series; at most 1 before the minus."""
    term = total = 1 << _POINT
    place = 1
    while term:
        term = term * numerator // (denominator * place)
        total += -term if place % 2 else term
        place += 1
    return total
