"""The capacity curve: how the loss falls with size, and where growing stops to pay.

    loss(n) = floor + scale * n ** -exponent

(Hestness et al. 2017, arXiv 1712.00409; Kaplan et al. 2020, arXiv 2001.08361), with floor and scale of 0 or
more, by least squares: for each exponent of a grid, both are a linear problem. The knee is where the fitted
curve is furthest above the line between its ends, both axes from 0 to 1 and sizes logarithmic (Satopaa et al.
2011, "Finding a kneedle in a haystack"). Intervals: the same for curves that are fitted to students drawn
anew with replacement, those of each size among themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

EXPONENTS = np.linspace(0.05, 3.0, 119)
FEWEST_SIZES = 4
"""Three numbers are fitted: with fewer sizes, a curve goes through whatever they are."""
_DRAWS = 200
_PLACES = 60  # of a curve between its ends
_CONFIDENCE = (0.025, 0.975)
_FLAT = 1e-9

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A fitted curve."""

    floor: float
    scale: float
    exponent: float
    unit: float  # sizes are counted in it, so that scale is the loss above the floor at the smallest

    def loss(self, sizes: Floats | float) -> Floats:
        """Of sizes."""
        at: Floats = self.floor + self.scale * (np.asarray(sizes, np.float64) / self.unit) ** -self.exponent
        return at


@dataclass(frozen=True, kw_only=True)
class CapacityCurve:
    """The curve over one kind of size, with intervals over seeds.

    Attributes:
        against: What sizes are of: parameters, flops or latency_us.
        floor: The loss that no size gets below, by the fit.
        floor_low: The lower end of its 95 % interval.
        floor_high: The upper end.
        exponent: How fast the loss falls.
        knee: The size beyond which growing pays less than on average.
        knee_low: The lower end of its 95 % interval.
        knee_high: The upper end.
        knee_loss: The loss there, by the fit.
        sizes: Places along the curve.
        loss: The loss there.
        loss_low: The lower end of its 95 % interval.
        loss_high: The upper end.
    """

    against: str
    floor: float
    floor_low: float
    floor_high: float
    exponent: float
    knee: float
    knee_low: float
    knee_high: float
    knee_loss: float
    sizes: tuple[float, ...]
    loss: tuple[float, ...]
    loss_low: tuple[float, ...]
    loss_high: tuple[float, ...]


def fitted(sizes: Sequence[float], losses: Sequence[float]) -> Fit:
    """The curve of least squares through points (size, loss)."""
    n, y = np.asarray(sizes, np.float64), np.asarray(losses, np.float64)
    unit = float(n.min())
    falling = (n / unit)[None] ** -EXPONENTS[:, None]  # [exponents, points]
    away = falling - falling.mean(axis=1, keepdims=True)
    scale = (away * y).sum(axis=1) / np.maximum((away**2).sum(axis=1), _FLAT)
    floor = y.mean() - scale * falling.mean(axis=1)
    # Where the best of all has a number below 0, the best of those without is on the edge: that number is 0.
    through_zero = (falling * y).sum(axis=1) / (falling**2).sum(axis=1)
    scale, floor = np.where(floor < 0, through_zero, scale), np.maximum(floor, 0.0)
    scale, floor = np.where(scale < 0, 0.0, scale), np.where(scale < 0, y.mean(), floor)
    errors = ((floor[:, None] + scale[:, None] * falling - y) ** 2).sum(axis=1)
    best = int(errors.argmin())
    return Fit(floor=float(floor[best]), scale=float(scale[best]), exponent=float(EXPONENTS[best]), unit=unit)


def knee_of(fit: Fit, *, low: float, high: float) -> float | None:
    """The size at the knee between two sizes; None of a curve that is flat."""
    sizes = np.geomspace(low, high, 400)
    gain = -fit.loss(sizes)
    span = gain[-1] - gain[0]
    if span <= _FLAT:
        return None
    above = (gain - gain[0]) / span - np.linspace(0, 1, len(sizes))
    return float(sizes[int(above.argmax())])


def capacity_curve(
    against: str, losses: Mapping[float, Sequence[float]], *, seed: int = 0
) -> CapacityCurve | None:
    """The curve through students.

    Args:
        against: What sizes are of.
        losses: The losses of the students of each size.
        seed: Of the draws that intervals are made of.

    Returns:
        The curve; None where there are fewer than four sizes, or where larger students are no better.
    """
    if len(losses) < FEWEST_SIZES:
        return None
    low, high = min(losses), max(losses)
    places = np.geomspace(low, high, _PLACES)
    fit = _fit(losses)
    knee = knee_of(fit, low=low, high=high)
    if knee is None:
        return None
    random = np.random.default_rng(seed)
    drawn = [
        _fit({size: random.choice(those, len(those)) for size, those in losses.items()})
        for _ in range(_DRAWS)
    ]
    knees = [one for one in (knee_of(each, low=low, high=high) for each in drawn) if one is not None]
    knee_low, knee_high = np.quantile(knees or [knee], _CONFIDENCE)
    floor_low, floor_high = np.quantile([one.floor for one in drawn], _CONFIDENCE)
    under, over = np.quantile([one.loss(places) for one in drawn], _CONFIDENCE, axis=0)
    return CapacityCurve(
        against=against,
        floor=fit.floor,
        floor_low=float(floor_low),
        floor_high=float(floor_high),
        exponent=fit.exponent,
        knee=knee,
        knee_low=float(knee_low),
        knee_high=float(knee_high),
        knee_loss=float(fit.loss(knee)),
        sizes=tuple(places.tolist()),
        loss=tuple(fit.loss(places).tolist()),
        loss_low=tuple(under.tolist()),
        loss_high=tuple(over.tolist()),
    )


def _fit(losses: Mapping[float, Sequence[float] | Floats]) -> Fit:
    return fitted(
        [size for size, those in losses.items() for _ in those],
        [one for those in losses.values() for one in those],
    )
