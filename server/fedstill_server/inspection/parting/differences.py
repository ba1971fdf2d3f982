"""How far a student's answers are from its teacher's, example by example, or token by token of text.

    KL(teacher || student) = sum_k t_k (log t_k - log s_k), in nats

with t and s softened by the temperature that is fitted to each on held-out examples: two models of which one
is only surer than the other would seem to part everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray, IntArray

from fedstill_server.inspection.corruption import Answer

Nats = npt.NDArray[np.float64]
_VALUES_AT_ONCE = 1 << 22  # logits of each: 16 MB


@dataclass(frozen=True, kw_only=True, eq=False)
class Differences:
    """Answers of both to the same n examples, or n tokens.

    Attributes:
        nats: KL(teacher || student) of each [n].
        labels: The right answers [n].
        mine: The student's first choices [n].
        theirs: The teacher's [n].
        my_share: The student's probability of its first choice [n].
        their_share: The teacher's of its own [n].
        row: The row of x that each is of [n].
        place: Its place in the row [n]; 0 of an example with one label.
    """

    nats: Nats
    labels: IntArray
    mine: IntArray
    theirs: IntArray
    my_share: Nats
    their_share: Nats
    row: IntArray
    place: IntArray

    def __len__(self) -> int:
        return len(self.nats)

    @property
    def same(self) -> npt.NDArray[np.bool_]:
        """Whether both have the same first choice [n]."""
        return np.asarray(self.mine == self.theirs)


def differences(
    student: Answer,
    teacher: Answer,
    x: npt.NDArray[Any],
    labels: IntArray,
    *,
    temperatures: tuple[float, float] = (1.0, 1.0),
) -> Differences:
    """Ask both.

    Args:
        student: Examples [n, ...] to logits [n, ..., K].
        teacher: The same.
        x: Examples, or rows of tokens [n, S].
        labels: The right answers [n], or [n, S]; a place of -1 is left out.
        temperatures: What the student's and the teacher's logits are divided by.
    """
    parts: list[dict[str, np.ndarray]] = []
    begin, rows = 0, 1
    while begin < len(x):
        part = slice(begin, begin + rows)
        mine, theirs = student(x[part]), teacher(x[part])
        parts.append(_of_rows(mine, theirs, labels[part], begin, temperatures))
        begin += rows
        rows = max(1, _VALUES_AT_ONCE // max(1, mine[0].size))
    every = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Differences(**every)


def _of_rows(
    mine: FloatArray, theirs: FloatArray, labels: IntArray, begin: int, temperatures: tuple[float, float]
) -> dict[str, np.ndarray]:
    classes, places = mine.shape[-1], int(np.prod(labels.shape[1:], dtype=np.int64))
    right = labels.reshape(-1)
    known = right >= 0
    student = _log_shares(mine.reshape(-1, classes)[known] / temperatures[0])
    teacher = _log_shares(theirs.reshape(-1, classes)[known] / temperatures[1])
    at = np.flatnonzero(known)
    return {
        "nats": np.maximum((np.exp(teacher) * (teacher - student)).sum(axis=-1), 0.0),
        "labels": right[known],
        "mine": student.argmax(axis=-1),
        "theirs": teacher.argmax(axis=-1),
        "my_share": np.exp(student.max(axis=-1)),
        "their_share": np.exp(teacher.max(axis=-1)),
        "row": begin + at // places,
        "place": at % places,
    }


def _log_shares(logits: npt.NDArray[Any]) -> Nats:
    exact = logits.astype(np.float64)
    exact -= exact.max(axis=-1, keepdims=True)
    return np.asarray(exact - np.log(np.exp(exact).sum(axis=-1, keepdims=True)))
