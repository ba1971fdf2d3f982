"""Epsilon by numeric accounting: privacy loss distributions, and the noise that an epsilon needs.

A round in which a device is asked is one Gaussian mechanism with noise_multiplier z (in units of what another
private set can change). The privacy loss distribution of many is composed by Google's dp-accounting, rounded
up (Koskela et al. 2020, arXiv 1906.03049; Doroshenko et al. 2022, arXiv 2207.04380). The noise is
discrete, and the accountant's Gaussian is not: at 4,096 steps a standard deviation that moves a delta by a
ten-millionth of itself, less than what the composition rounds up (a test holds both). zCDP needs no such
argument: it holds for the discrete Gaussian as it is, and gives a somewhat larger epsilon.

No amplification by sampling is claimed: a cohort is drawn without replacement from devices that happen to be
there, and every round that asks a device counts in full.
"""

from __future__ import annotations

import functools
import math

from fedstill_proto.errors import InvalidValue
from fedstill_proto.privacy import epsilon_of_rho, rho_of_epsilon
from fedstill_proto.privacy.noising import LEAST_MULTIPLIER, MOST_MULTIPLIER

_TOLERANCE = 1e-3  # relative, of the noise multiplier


@functools.lru_cache(maxsize=256)
def epsilon_of_rounds(noise_multiplier: float, rounds: int, delta: float) -> float:
    """The epsilon of a device that is asked in all of `rounds` releases with this noise."""
    if rounds == 0:
        return 0.0
    # dp-accounting takes two seconds to import.
    from dp_accounting import GaussianDpEvent
    from dp_accounting.pld import PLDAccountant

    accountant = PLDAccountant()
    # Many Gaussians are one: (z / sqrt n) is what n of them come to, to the last digit.
    accountant.compose(GaussianDpEvent(noise_multiplier / math.sqrt(rounds)))
    epsilon: float = accountant.get_epsilon(delta)
    return epsilon


def epsilon_of_gaussians(rho: float, delta: float) -> float:
    """The epsilon of Gaussian releases that cost a device `rho` together, in zCDP, whatever their noise.

    Many Gaussians are one: n rounds with noise z come to rho = n / (2 z^2), as one with z / sqrt n does.
    """
    return epsilon_of_rounds(1 / math.sqrt(2 * rho), 1, delta) if rho > 0 else 0.0


def zcdp_epsilon_of_rounds(noise_multiplier: float, rounds: int, delta: float) -> float:
    """The same as a device counts it, by zCDP: somewhat larger."""
    return epsilon_of_rho(rounds / (2 * noise_multiplier**2), delta)


def noise_for_epsilon(epsilon: float, rounds: int, delta: float, *, spent_rho: float = 0.0) -> float:
    """The least noise_multiplier, to a thousandth, with which `rounds` releases cost at most `epsilon`.

    Args:
        epsilon: What all may cost together.
        rounds: How many are to come.
        delta: That of epsilon.
        spent_rho: What Gaussian releases before them have cost, in zCDP; it is a part of epsilon.

    Raises:
        InvalidValue: No noise that devices can add is enough, or so little would be.
    """
    if spent_rho:
        # Many Gaussians are one: 1 / z^2 adds up, and is twice rho.
        left = 1 / _noise_of_one(epsilon, delta) ** 2 - 2 * spent_rho
        if left <= 0:
            raise InvalidValue("epsilon", f"{epsilon:g} at delta {delta:g} is spent by the rounds so far")
        noise = math.sqrt(rounds / left)
    else:
        noise = _least_noise(epsilon, rounds, delta)
    if not LEAST_MULTIPLIER <= noise <= MOST_MULTIPLIER:
        needed = f"{epsilon:g} at delta {delta:g} in {rounds} rounds needs a noise multiplier of {noise:.3g}"
        possible = f"{LEAST_MULTIPLIER:g} to {MOST_MULTIPLIER:g}"
        raise InvalidValue("epsilon", f"{needed}, which is not {possible}; change one of the three")
    return noise


def _noise_of_one(epsilon: float, delta: float) -> float:
    """The noise_multiplier with which one Gaussian costs at most `epsilon`, and a thousandth more.

    The exact delta of a Gaussian is that of Balle & Wang 2018 (arXiv 1805.06530).
    """

    def tail(at: float) -> float:
        return math.erfc(-at / math.sqrt(2)) / 2

    def delta_of(noise: float) -> float:
        mean, reach = 1 / (2 * noise), epsilon * noise
        return tail(mean - reach) - math.exp(epsilon) * tail(-mean - reach)

    low, high = 0.0, math.sqrt(1 / (2 * rho_of_epsilon(epsilon, delta)))
    while high - low > _TOLERANCE / 100 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if delta_of(middle) <= delta else (middle, high)
    return high * (1 + _TOLERANCE)


def _least_noise(epsilon: float, rounds: int, delta: float) -> float:
    """The same, whether it is possible or not."""
    enough = math.sqrt(rounds / (2 * rho_of_epsilon(epsilon, delta)))  # by zCDP, which is never too little
    low, high = 0.8 * enough, enough
    while epsilon_of_rounds(low, rounds, delta) <= epsilon:
        low, high = low / 2, low
    while high - low > _TOLERANCE * high:
        middle = (low + high) / 2
        low, high = (low, middle) if epsilon_of_rounds(middle, rounds, delta) <= epsilon else (middle, high)
    return high
