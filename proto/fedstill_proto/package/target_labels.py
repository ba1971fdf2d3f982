"""Labels that are no class: several of 0 and 1, or numbers; checked, and made what a network learns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fedstill_proto.errors import unknown_name
from fedstill_proto.package.target import SINGLE_LABEL, Target, TargetKind
from fedstill_proto.readers.errors import DataError
from fedstill_proto.readers.given import GivenExamples

Labels = npt.NDArray[Any]


def target_kind(name: str, *, where: str = "target") -> TargetKind:
    """The kind of target of this name; raises UnknownName where there is none."""
    for kind in TargetKind:
        if kind.value == name:
            return kind
    raise unknown_name(where, name, [kind.value for kind in TargetKind])


def checked_targets(
    kind: TargetKind,
    y: Labels,
    *,
    examples: int,
    where: str,
    row_name: Callable[[int], str] | None = None,
) -> Labels:
    """Labels [examples, K] of 0 and 1 as int64, or numbers [examples, D] as float64; a row is [examples, 1].

    Raises:
        DataError: Naming what does not fit, and the first row of it.
    """
    named = row_name or (lambda row: f"{where}: row {row}")
    if y.ndim == 1:
        y = y[:, None]
    if y.dtype.kind == "U":  # of a table
        y = _parsed(y, named)
    regression = kind is TargetKind.REGRESSION
    taken, needed = ("fiub", "numbers") if regression else ("iub", "0 and 1, as whole numbers")
    if y.dtype.kind not in taken:
        raise DataError(f"{where} is {y.dtype}; labels of target {kind.value} must be {needed}")
    if y.ndim != 2 or len(y) != examples or not y.shape[1]:
        raise DataError(
            f"{where} has shape {list(y.shape)}; target {kind.value} needs [{examples}, labels], a row "
            "for each example"
        )
    good = np.isfinite(y) if regression else (y == 0) | (y == 1)
    if not good.all():
        row, place = (int(found[0]) for found in np.nonzero(~good))
        problem = "is not finite; remove or fill it" if regression else "is neither 0 nor 1"
        raise DataError(f"{named(row)}, label {place}: {y[row, place]} {problem}")
    return y.astype(np.float64 if regression else np.int64)


def _parsed(texts: Labels, named: Callable[[int], str]) -> Labels:
    """Numbers of texts; whole ones where all are."""
    try:
        numbers = texts.astype(np.float64)
    except ValueError:
        row = next(row for row, cells in enumerate(texts.tolist()) if not all(map(_is_number, cells)))
        raise DataError(f"{named(row)}: {texts[row].tolist()!r:.60} holds no number") from None
    return numbers.astype(np.int64) if np.isin(numbers, (0, 1)).all() else numbers


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def fleets_target(kind: TargetKind, public_y: Labels | None, *, labels: int, where: str) -> Target:
    """The target of a fleet whose examples have so many labels; numbers have the units of public ones.

    Raises:
        DataError: Numbers without public labels, or with others.
    """
    if kind.is_class:
        return SINGLE_LABEL
    if public_y is not None and public_y.shape[1] != labels:
        raise DataError(f"{where}: {public_y.shape[1]} labels a row, and devices have {labels}")
    if kind is TargetKind.MULTI_LABEL:
        return Target(kind=kind, size=labels)
    if public_y is None:
        raise DataError(
            f"{where}: target regression needs public labels, of which offset and scale of its numbers "
            "are computed; add y"
        )
    return Target.of_numbers(public_y)


def learned(target: Target, y: Labels) -> Labels:
    """Checked labels as a network learns them."""
    return target.standardized(y) if target.is_regression else y


@dataclass(frozen=True)
class TargetReader:
    """Makes labels of one's own data what a network learns.

    Attributes:
        target: What they say.
        classes: Numbers of an answer.
        class_names: None are known.
    """

    target: Target
    classes: int = 2
    class_names: tuple[str, ...] = ()

    def __call__(self, part: GivenExamples, /, *, unlabelled: bool = False) -> Labels:
        if not len(part):
            return np.zeros((0, self.target.size), self.target.label_type)
        return learned(self.target, _said(part, self.target.kind))


def target_reader(
    labelled: Sequence[GivenExamples], kind: TargetKind, *, public: GivenExamples | None, where: str
) -> TargetReader:
    """What reads the labels of these parts, of which `public` gives numbers their units.

    Raises:
        DataError: Naming the place of what does not fit.
    """
    if not labelled:
        raise DataError(f"{where}: no labels, and target {kind.value} needs some; add y")
    size = _said(labelled[0], kind).shape[1]
    for part in labelled:
        if (width := _said(part, kind).shape[1]) != size:
            raise DataError(f"{part.labels}: {width} labels a row, but {labelled[0].labels} has {size}")
    public_y = None if public is None or public.y is None else _said(public, kind)
    return TargetReader(
        fleets_target(kind, public_y, labels=size, where=where if public is None else public.labels)
    )


def _said(part: GivenExamples, kind: TargetKind) -> Labels:
    if part.y is None:
        raise DataError(f"{part.labels}: there are no labels; give a row for each example")
    return checked_targets(
        kind, np.asarray(part.y), examples=len(part), where=part.labels, row_name=part.label_name
    )
