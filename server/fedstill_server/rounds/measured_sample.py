"""How sure the accuracies of some devices are of the whole fleet's.

Where n of N devices are drawn without replacement, of each family h its share, the mean over the fleet is
estimated as sum_h N_h/N * mean_h, whose variance is sum_h (N_h/N)^2 * (1 - n_h/N_h) * s_h^2 / n_h: the
stratified sample with the correction for finite populations (Cochran, "Sampling Techniques", 1977, 5.3).
Where all devices are measured, nothing is unsure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import Float64Array, IntArray

from fedstill_server.rounds.round_record import MeasuredDevices

_NORMAL_95 = 1.959963984540054  # quantile 0.975 of the standard normal distribution


@dataclass(frozen=True, kw_only=True)
class EstimatedMean:
    """A mean over a fleet, and half of its 95 % interval; None where nothing is known of it.

    Of one measured device a family that has more there is no interval.
    """

    mean: float | None
    half_width: float | None


def estimated_mean(
    values: Float64Array, *, strata: npt.NDArray[np.integer] | None = None, sizes: IntArray | None = None
) -> EstimatedMean:
    """Estimate the mean over a fleet from drawn devices.

    Args:
        values: What was measured of each [n], NaN where a device has no such examples.
        strata: The family's number of each [n]; None is one for all.
        sizes: How many devices of the fleet are of each family [families]; None is those that were measured.
    """
    values = np.asarray(values, np.float64)
    known = ~np.isnan(values)
    if not known.any():
        return EstimatedMean(mean=None, half_width=None)
    family = np.zeros(len(values), np.int64) if strata is None else np.asarray(strata, np.int64)
    measured = np.bincount(family)
    fleet = measured if sizes is None else np.asarray(sizes, np.int64)
    if int(fleet.sum()) <= len(values):
        return EstimatedMean(mean=exact_mean(values[known].tolist()), half_width=0.0)
    means, weights, errors = [], [], []
    for number, size in enumerate(fleet.tolist()):
        drawn = int(measured[number]) if number < len(measured) else 0
        own = values[known & (family == number)]
        if not len(own):
            continue
        # Of the family's devices, as many have such examples as among those that were drawn.
        weights.append(size * len(own) / drawn)
        means.append(exact_mean(own.tolist()))
        left = 1.0 - drawn / size
        spread = float(np.var(own, ddof=1)) if len(own) > 1 else (0.0 if left <= 0 else math.nan)
        errors.append(left * spread / len(own) if left > 0 else 0.0)
    whole = math.fsum(weights)
    mean = math.fsum(weight * one for weight, one in zip(weights, means, strict=True)) / whole
    variance = math.fsum((weight / whole) ** 2 * one for weight, one in zip(weights, errors, strict=True))
    half_width = None if math.isnan(variance) else _NORMAL_95 * math.sqrt(variance)
    return EstimatedMean(mean=mean, half_width=half_width)


@dataclass(frozen=True, kw_only=True)
class MeasuredAccuracy:
    """What a round's record says of its devices' accuracies, from their columns."""

    personal: float | None
    everyone: float | None
    fleet_personal: float | None
    fleet_everyone: float | None
    worst: float | None
    measured: MeasuredDevices

    @classmethod
    def of(
        cls,
        *,
        personal: Float64Array,
        everyone: Float64Array,
        fleet_personal: Float64Array,
        fleet_everyone: Float64Array,
        strata: npt.NDArray[np.integer] | None = None,
        sizes: IntArray | None = None,
    ) -> MeasuredAccuracy:
        """Summarize the accuracies [n] of the devices that were measured; NaN where one has no such examples.

        Args:
            personal: Of what an app gets, on a device's own tests.
            everyone: Of the same answers, on everyone's test.
            fleet_personal: Of the fleet's student alone, on a device's own tests.
            fleet_everyone: The same on everyone's test.
            strata: The family's number of each device [n]; None is one for all.
            sizes: How many devices of the fleet are of each family; None is those that were measured.
        """
        own, all_ = (estimated_mean(each, strata=strata, sizes=sizes) for each in (personal, everyone))
        known = personal[~np.isnan(personal)]
        low, middle, high = np.quantile(known, [0.1, 0.5, 0.9]).tolist() if len(known) else (None,) * 3
        return cls(
            personal=own.mean,
            everyone=all_.mean,
            fleet_personal=estimated_mean(fleet_personal, strata=strata, sizes=sizes).mean,
            fleet_everyone=estimated_mean(fleet_everyone, strata=strata, sizes=sizes).mean,
            worst=float(known.min()) if len(known) else None,
            measured=MeasuredDevices(
                devices=len(personal),
                of_devices=len(personal) if sizes is None else int(np.sum(sizes)),
                personal_half_width=own.half_width,
                global_half_width=all_.half_width,
                personal_p10=low,
                personal_median=middle,
                personal_p90=high,
            ),
        )


def exact_mean(values: Sequence[float]) -> float:
    """The mean, rounded once: the same in whatever order the values come."""
    return math.fsum(values) / len(values)
