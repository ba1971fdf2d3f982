"""Suppressed classes: their numbers, and answers whose probability has moved to the others."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fedstill_proto.arrays import FloatArray
from fedstill_proto.errors import InvalidValue
from fedstill_proto.package.constraints.constraints import Constraints
from fedstill_proto.text.vocabulary import normal


def class_numbers(
    constraints: Constraints, *, classes: int, names: Sequence[str] = (), strict: bool = False
) -> frozenset[int]:
    """The numbers of the suppressed classes.

    Args:
        constraints: The list.
        classes: How many classes there are, or labels.
        names: Theirs, or none.
        strict: Whether a class that the student has not is an error, and not a class of another student.

    Raises:
        InvalidValue: No class would be left to answer; or strict.
    """
    places = {normal(name.strip()): place for place, name in enumerate(names)}
    found: set[int] = set()
    for label in constraints.all_classes:
        number = label if isinstance(label, int) else places.get(normal(label.strip()))
        if number is not None and number < classes:
            found.add(number)
        elif strict:
            known = f"one of {', '.join(names)[:200]}" if names else f"0 to {classes - 1}"
            raise InvalidValue("classes", f"{label!r:.60} is no class of this student; it has {known}")
    if found and len(found) >= classes:
        raise InvalidValue("classes", f"all {classes} classes are suppressed; leave one to answer")
    return frozenset(found)


def without_classes(probabilities: npt.NDArray[np.floating[Any]], numbers: Collection[int]) -> FloatArray:
    """Probabilities [..., K] in which these classes have none; the others share it in proportion."""
    if not numbers:
        return np.asarray(probabilities, np.float32)
    suppressed = np.zeros(probabilities.shape[-1], bool)
    suppressed[list(numbers)] = True
    kept = np.where(suppressed, 0.0, probabilities.astype(np.float64))
    total = kept.sum(axis=-1, keepdims=True)
    even = np.where(suppressed, 0.0, 1.0 / max(1, int((~suppressed).sum())))
    return np.asarray(np.where(total > 0, kept / np.maximum(total, 1e-300), even), np.float32)


def without_labels(probabilities: npt.NDArray[np.floating[Any]], numbers: Collection[int]) -> FloatArray:
    """Probabilities [..., K] of several labels, each by itself, in which these have none."""
    kept = np.array(probabilities, np.float32)
    kept[..., list(numbers)] = 0.0
    return kept
