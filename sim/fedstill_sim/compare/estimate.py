"""A mean over seeds with its 95 % interval (Student's t)."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from fedstill_proto.errors import FedstillError

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """mean ± half_width over the values, one a seed; one value gives no interval (None)."""

    mean: float
    half_width: float | None
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """half_width = t(0.975, n - 1) * s / sqrt(n)."""
        if not values:
            raise FedstillError("estimate: no values; a mean needs at least one")
        half_width = None
        if len(values) > 1:
            from scipy.stats import t  # half a second that a plain run does not need

            quantile = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
            half_width = quantile * statistics.stdev(values) / math.sqrt(len(values))
        return cls(mean=statistics.fmean(values), half_width=half_width, values=tuple(values))

    @property
    def low(self) -> float:
        """The interval's lower end; the mean where there is no interval."""
        return self.mean - (self.half_width or 0.0)

    @property
    def high(self) -> float:
        """The interval's upper end."""
        return self.mean + (self.half_width or 0.0)
