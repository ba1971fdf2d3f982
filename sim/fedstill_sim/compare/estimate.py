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
    """A mean over seeds.

    Attributes:
        mean: The mean of the values.
        half_width: Half the width of its 95 % interval; None where there is one value.
        values: The values, one for each seed.
    """

    mean: float
    half_width: float | None
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Estimate the mean of n values: half_width = t(0.975, n - 1) * s / sqrt(n).

        Raises:
            FedstillError: There are no values.
        """
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
