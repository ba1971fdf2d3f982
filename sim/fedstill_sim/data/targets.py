"""Labels that are no class: several of 0 and 1, or numbers; checked, and made what a network learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.errors import unknown_name
from fedstill_proto.package.target import SINGLE_LABEL, Target, TargetKind

from fedstill_sim.data.fleet import FleetDataError

Labels = npt.NDArray[Any]


def target_kind(name: str, *, where: str = "target") -> TargetKind:
    """The kind of target of this name; raises UnknownName where there is none."""
    for kind in TargetKind:
        if kind.value == name:
            return kind
    raise unknown_name(where, name, [kind.value for kind in TargetKind])


def checked_targets(kind: TargetKind, y: Labels, *, examples: int, where: str) -> Labels:
    """Labels [examples, K] of 0 and 1 as int64, or numbers [examples, D] as float64; a row is [examples, 1].

    Raises:
        FleetDataError: Naming what does not fit, and the first row of it.
    """
    if y.ndim == 1:
        y = y[:, None]
    regression = kind is TargetKind.REGRESSION
    taken, needed = ("fiub", "numbers") if regression else ("iub", "0 and 1, as whole numbers")
    if y.dtype.kind not in taken:
        raise FleetDataError(f"{where} is {y.dtype}; labels of target {kind.value} must be {needed}")
    if y.ndim != 2 or len(y) != examples or not y.shape[1]:
        raise FleetDataError(
            f"{where} has shape {list(y.shape)}; target {kind.value} needs [{examples}, labels], a row "
            "for each example"
        )
    good = np.isfinite(y) if regression else (y == 0) | (y == 1)
    if not good.all():
        row, place = (int(found[0]) for found in np.nonzero(~good))
        problem = "is not finite; remove or fill it" if regression else "is neither 0 nor 1"
        raise FleetDataError(f"{where}: row {row}, label {place}: {y[row, place]} {problem}")
    return y.astype(np.float64 if regression else np.int64)


def fleets_target(kind: TargetKind, public_y: Labels | None, *, labels: int, where: str) -> Target:
    """The target of a fleet whose examples have so many labels; numbers have the units of public ones.

    Raises:
        FleetDataError: Numbers without public labels, or with others.
    """
    if kind.is_class:
        return SINGLE_LABEL
    if public_y is not None and public_y.shape[1] != labels:
        raise FleetDataError(f"{where}: {public_y.shape[1]} labels a row, and devices have {labels}")
    if kind is TargetKind.MULTI_LABEL:
        return Target(kind=kind, size=labels)
    if public_y is None:
        raise FleetDataError(
            f"{where}: target regression needs public labels, of which offset and scale of its numbers "
            "are computed; add y"
        )
    return Target.of_numbers(public_y)


def learned(target: Target, y: Labels) -> Labels:
    """Checked labels as a network learns them."""
    return target.standardized(y) if target.is_regression else y
