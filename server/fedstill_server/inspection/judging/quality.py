"""What judges of all kinds say of one form of a student."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray

from fedstill_server.calibration import Calibration
from fedstill_server.distill.teachers import TeacherModel
from fedstill_server.inspection.agreement import Agreement
from fedstill_server.inspection.corruption import Answer
from fedstill_server.inspection.tokens import TextFigures


@dataclass(frozen=True, kw_only=True, eq=False)
class Quality:
    """How good a form is.

    Attributes:
        score: Its accuracy, or what the task has in its place.
        plain: Its calibration as it is; None of vectors, which have no confidence.
        scaled: The same after temperature scaling; None without examples to fit it on.
        scaling_examples: How many those were; of text, tokens.
        first: Its first choices [n], of examples or of tokens; of vectors, the nearest other examples.
        next_tokens: Of a student of text; None of others.
        vectors: Vectors [n, width] of unit length; None of others.
    """

    score: float
    plain: Calibration | None
    scaled: Calibration | None
    scaling_examples: int
    first: IntArray
    next_tokens: TextFigures | None = None
    vectors: FloatArray | None = None


class Judge(Protocol):
    """The test examples, and what is asked about them.

    Attributes:
        examples: How many there are.
        x: The examples [n, *shape].
        labels: Their labels [n], or the next tokens [n, S]; none of vectors.
    """

    examples: int
    x: FloatArray
    labels: IntArray

    def quality(self, answer: Answer) -> Quality:
        """How good a form is."""

    def agreement(self, student: Answer, teacher: TeacherModel) -> Agreement:
        """How often a student and the teacher answer the same."""


def spread(count: int, most: int) -> IntArray:
    """Places of `most` of so many rows, spread over all; 0 is all."""
    if not most or most >= count:
        return np.arange(count)
    return np.linspace(0, count - 1, most).astype(np.int64)
