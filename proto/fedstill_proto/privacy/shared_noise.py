"""Noise that nobody adds alone: each device adds a part, and the sum carries all of it.

The sum of m discrete Gaussians of variance sigma^2 / m is not quite a discrete Gaussian of variance sigma^2.
Kairouz, Liu and Steinke 2021 (arXiv 2102.06387, proposition 13) bound what that costs. A sum in which m
honest devices have added their parts, and one device's vector of d whole numbers can be moved by D (L2), is
rho-zCDP with

    rho = e^2 / 2,    e = min(sqrt(D^2 / sigma^2 + tau d / 2), D / sigma + tau sqrt(d))
    tau = 10 sum_{k=1}^{m-1} exp(-2 pi^2 (sigma^2 / m) k / (k + 1))

On a grid of 4,096 steps a sigma, tau is nothing that a float can hold: even among 10,000 devices it is below
10^-7000.
"""

from __future__ import annotations

import math

from fedstill_proto.checks import check_integer
from fedstill_proto.privacy.discrete_gaussian import SIGMA_STEPS
from fedstill_proto.privacy.noising import Noising


def divergence_bound(parts: int) -> float:
    """tau of so many parts; 0 where it is below what a float can hold."""
    check_integer("parts", parts, 1, SIGMA_STEPS**2)
    variance = SIGMA_STEPS**2 / parts
    # The first term is the largest.
    return 10 * (parts - 1) * math.exp(-(math.pi**2) * variance)


def shared_rho(noising: Noising, *, parts: int, numbers: int) -> float:
    """The zCDP cost of a sum of vectors of so many numbers with the noise of `parts` honest devices."""
    tau, moved = divergence_bound(parts), 1 / noising.noise_multiplier  # D / sigma
    epsilon = min(math.sqrt(moved**2 + tau * numbers / 2), moved + tau * math.sqrt(numbers))
    return epsilon**2 / 2
