"""The accountant that a device can carry: zero-concentrated differential privacy, which adds up.

zCDP (Bun and Steinke 2016, arXiv 1605.02065): a mechanism is rho-zCDP where, for all a > 1, the Renyi
divergence of order a between its outputs on neighbouring inputs is at most a rho. Mechanisms one after
another, each chosen in the light of what came before, are (rho_1 + rho_2 + ...)-zCDP. It is reported as
(epsilon, delta), after Canonne, Kamath and Steinke 2020 (arXiv 2004.00010, proposition 12):

    epsilon = min_{a > 1} a rho + (log(1/delta) + a log(1 - 1/a) - log(a - 1)) / (a - 1)

It holds for any rho-zCDP mechanism; numeric accounting (the server's, see fedstill_server.privacy) uses that
the mechanism is a Gaussian, and finds a somewhat smaller epsilon.
"""

from __future__ import annotations

import math

from fedstill_proto.errors import InvalidValue

# Orders a - 1 that are tried: each gives a true bound, so that a coarse grid only costs a thousandth.
_ORDERS = tuple(10 ** (exponent / 100) for exponent in range(-300, 601))


def epsilon_of_rho(rho: float, delta: float) -> float:
    """The epsilon of rho-zCDP at `delta`; 0 for a rho of 0."""
    _check_delta(delta)
    if not rho >= 0:
        raise InvalidValue("rho", f"{rho!r} is not 0 or more")
    if rho == 0:
        return 0.0
    if math.isinf(rho):
        return math.inf
    return max(0.0, min(_at_order(rho, delta, less_one) for less_one in _ORDERS))


def rho_of_epsilon(epsilon: float, delta: float) -> float:
    """The largest rho whose epsilon at `delta` is at most `epsilon`, to nine digits."""
    if not 0 < epsilon < math.inf:
        raise InvalidValue("epsilon", f"{epsilon!r} is not a number above 0")
    _check_delta(delta)
    low, high = 0.0, epsilon
    while epsilon_of_rho(high, delta) <= epsilon:
        low, high = high, 2 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if epsilon_of_rho(middle, delta) <= epsilon else (low, middle)
    return low


def _at_order(rho: float, delta: float, less_one: float) -> float:
    order = 1 + less_one
    rest = -math.log(delta) + order * math.log1p(-1 / order) - math.log(less_one)
    return order * rho + rest / less_one


def _check_delta(delta: float) -> None:
    if not (isinstance(delta, int | float) and 0 < delta < 1):
        raise InvalidValue("delta", f"{delta!r} is not a probability between 0 and 1")
