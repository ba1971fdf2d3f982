"""How often student and teacher answer the same: overall, by class, and by slice of the test set.

Slices are the classes, quarters by brightness (the mean of an example's values; of names, by length) and by
the teacher's confidence, and the groups that the task names (writers, sites). The worst slice is the one of
the lowest agreement among those of at least `LEAST_EXAMPLES` examples: fewer say nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray

from fedstill_server.inspection.outliers import confidence

LEAST_EXAMPLES = 10


@dataclass(frozen=True, kw_only=True)
class Slice:
    name: str
    examples: int
    agreement: float
    student_accuracy: float
    teacher_accuracy: float


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How often student and teacher answer the same."""

    overall: float
    slices: tuple[Slice, ...]

    @property
    def worst(self) -> Slice:
        """The slice of the lowest agreement."""
        large = [part for part in self.slices if part.examples >= LEAST_EXAMPLES] or list(self.slices)
        return min(large, key=lambda part: part.agreement)


def agreement(
    x: FloatArray,
    labels: IntArray,
    student: FloatArray,
    teacher: FloatArray,
    *,
    groups: Sequence[str] | None = None,
    lengths: np.ndarray | None = None,
) -> Agreement:
    """Compare student and teacher.

    Args:
        x: Examples [n, *shape].
        labels: [n].
        student: Logits [n, classes].
        teacher: Logits [n, classes].
        groups: A name for each example, by which further slices are made.
        lengths: How long each example is, where its values are names; None where they are amounts.
    """
    return agreement_of(
        student.argmax(-1), teacher.argmax(-1), labels, _rows_of_slices(x, labels, teacher, groups, lengths)
    )


def agreement_of(
    mine: IntArray, theirs: IntArray, labels: IntArray, slices: Mapping[str, np.ndarray]
) -> Agreement:
    """Compare first choices.

    Args:
        mine: The student's [n].
        theirs: The teacher's [n].
        labels: The right ones [n].
        slices: A mask [n] for each slice, by its name; one of no example is left out.
    """
    return Agreement(
        overall=float((mine == theirs).mean()),
        slices=tuple(
            Slice(
                name=name,
                examples=int(rows.sum()),
                agreement=float((mine == theirs)[rows].mean()),
                student_accuracy=float((mine == labels)[rows].mean()),
                teacher_accuracy=float((theirs == labels)[rows].mean()),
            )
            for name, rows in slices.items()
            if rows.any()
        ),
    )


def _rows_of_slices(
    x: FloatArray,
    labels: IntArray,
    teacher: FloatArray,
    groups: Sequence[str] | None,
    lengths: np.ndarray | None,
) -> Mapping[str, np.ndarray]:
    slices = {f"class {c}": labels == c for c in range(teacher.shape[1])}
    if lengths is not None:
        slices |= quarters("length", lengths)
    else:
        slices |= quarters("brightness", x.reshape(len(x), -1).mean(axis=1))
    slices |= quarters("teacher's confidence", confidence(teacher))
    if groups is not None:
        named = np.array(groups)
        slices |= {str(name): named == name for name in np.unique(named)}
    return slices


def quarters(what: str, values: np.ndarray) -> dict[str, np.ndarray]:
    """Slices of equal size, by rank."""
    quarter = np.argsort(np.argsort(values, kind="stable"), kind="stable") * 4 // len(values)
    names = ("lowest", "second", "third", "highest")
    return {f"{what}: {name} quarter": quarter == number for number, name in enumerate(names)}
