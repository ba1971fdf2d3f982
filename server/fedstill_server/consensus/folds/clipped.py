"""The mean of clipped answers: no device says anything louder than the others do (clipping.py)."""

from __future__ import annotations

from typing import ClassVar

from fedstill_server.consensus.folds.interface import AnswerKind, Fold


class Clipped(Fold):
    kinds: ClassVar[frozenset[AnswerKind]] = frozenset({AnswerKind.SHIFTS, AnswerKind.STUDENTS})
    line = "the mean of answers that are clipped to the round's limit"
