"""Judges by vectors of texts: how they rank pairs, and which other text is the nearest."""

from __future__ import annotations

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray

from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.subword_task import SubwordTask
from fedstill_server.distill.teachers import TeacherModel
from fedstill_server.inspection.agreement import Agreement, agreement_of, quarters
from fedstill_server.inspection.corruption import Answer
from fedstill_server.inspection.judging.quality import Quality, spread

_MOST_ROWS = 1000  # every one is compared with every other


class VectorJudge:
    """The texts of the test, up to 1,000 of them, and the task's pairs."""

    def __init__(self, task: SubwordTask, rows: int) -> None:
        chosen = spread(len(task.test), min(rows or _MOST_ROWS, _MOST_ROWS))
        self.x, self.examples = task.test.x[chosen], len(chosen)
        self.labels: IntArray = np.zeros(0, np.int64)
        self._task = task
        if self.examples < 2:
            raise DistillError(f"task: {task.name}: {self.examples} texts to test on; give two or more")

    def quality(self, answer: Answer) -> Quality:
        score = self._task.scored(answer)
        assert score is not None
        vectors = unit(answer(self.x))
        return Quality(
            score=score,
            plain=None,
            scaled=None,
            scaling_examples=0,
            first=nearest(vectors),
            vectors=vectors,
        )

    def agreement(self, student: Answer, teacher: TeacherModel) -> Agreement:
        """How often the nearest other text is the same."""
        mine = nearest(unit(student(self.x)))
        theirs = nearest(unit(teacher.answer(self.x).logits))
        subwords = self._task.files.subwords
        pad = 0 if subwords is None else subwords.pad
        return agreement_of(mine, theirs, theirs, quarters("length", (self.x != pad).sum(axis=1)))


def unit(vectors: FloatArray) -> FloatArray:
    """Vectors [n, width] of unit length."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: FloatArray = vectors / np.maximum(lengths, 1e-12)
    return scaled


def nearest(vectors: FloatArray) -> IntArray:
    """For each of unit vectors [n, width], which other one is the nearest [n]."""
    alike = vectors @ vectors.T
    np.fill_diagonal(alike, -np.inf)
    place: IntArray = alike.argmax(axis=1)
    return place
