"""How good one form of a student is on a task's test examples: of classes, and of next tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.text.vocabulary import MARKS, SPECIAL, WordList

from fedstill_server.calibration import Calibration, calibration, fitted_temperature
from fedstill_server.data.examples import Examples
from fedstill_server.distill.tasks import DistillTask
from fedstill_server.distill.teachers import TeacherModel
from fedstill_server.inspection.agreement import Agreement, agreement, agreement_of, quarters
from fedstill_server.inspection.corruption import Answer
from fedstill_server.inspection.tokens import (
    Bools,
    TextFigures,
    fitting_tokens,
    slices_of_tokens,
    text_figures,
    token_answers,
)

_TEXT_VALUES = 1 << 28  # logits that a form of a student of text is judged by: seconds
_FEWEST_ROWS = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Quality:
    """How good a form is.

    Attributes:
        plain: Its calibration as it is.
        scaled: The same after temperature scaling; None without examples to fit it on.
        scaling_examples: How many those were; of text, tokens.
        first: Its first choices [n], of examples or of tokens.
        text: Of next tokens; None of classes.
    """

    plain: Calibration
    scaled: Calibration | None
    scaling_examples: int
    first: IntArray
    text: TextFigures | None = None


class Judge(Protocol):
    """The test examples, and what is asked about them."""

    examples: int
    x: FloatArray

    def quality(self, answer: Answer) -> Quality:
        """How good a form is."""

    def agreement(self, student: Answer, teacher: TeacherModel) -> Agreement:
        """How often a student and the teacher answer the same."""


def judge_of(task: DistillTask, *, rows: int = 0) -> Judge:
    """What judges students of a task.

    Args:
        task: The task.
        rows: Test examples at most; 0 is all, and of text as many as take seconds.
    """
    if task.places > 1:
        return TextJudge(task, rows)
    return ClassJudge(task, rows)


def _spread(count: int, most: int) -> IntArray:
    """Places of `most` of so many rows, spread over all; 0 is all."""
    if not most or most >= count:
        return np.arange(count)
    return np.linspace(0, count - 1, most).astype(np.int64)


class ClassJudge:
    """Judges by one label for each example."""

    def __init__(self, task: DistillTask, rows: int) -> None:
        assert task.test.y is not None
        chosen = _spread(len(task.test), rows)
        self.x, self.labels = task.test.x[chosen], task.test.y[chosen]
        self.examples = len(chosen)
        self._groups = None if task.test_groups is None else [task.test_groups[row] for row in chosen]
        self._held_out = task.validation

    def quality(self, answer: Answer) -> Quality:
        logits = answer(self.x)
        fit, scaled = self._held_out, None
        if fit.y is not None and len(fit):
            scaled = calibration(logits, self.labels, temperature=fitted_temperature(answer(fit.x), fit.y))
        return Quality(
            plain=calibration(logits, self.labels),
            scaled=scaled,
            scaling_examples=len(fit) if scaled is not None else 0,
            first=logits.argmax(-1),
        )

    def agreement(self, student: Answer, teacher: TeacherModel) -> Agreement:
        theirs = teacher.answer(self.x).logits
        return agreement(self.x, self.labels, student(self.x), theirs, groups=self._groups)


class TextJudge:
    """Judges by the next token in each place of rows."""

    def __init__(self, task: DistillTask, rows: int) -> None:
        assert task.test.y is not None
        most = rows or max(_FEWEST_ROWS, _TEXT_VALUES // (task.places * task.classes))
        chosen = _spread(len(task.test), most)
        self.x, self.labels = task.test.x[chosen], task.test.y[chosen]
        self.examples, self.of_rows = len(chosen), len(task.test)
        self._task = task
        vocabulary = task.files.vocabulary
        self._list = None if vocabulary is None else WordList.from_json(vocabulary)
        self._words = None
        if self._list is not None:
            self._words = np.array([number for number, _ in self._list.words], np.int64)

    @cached_property
    def slices(self) -> dict[str, Bools]:
        """The tokens by their kind, how common they are, and their place: a mask [tokens] by name."""
        public: Examples = self._task.public
        learned = public.x if public.y is None else public.y
        return slices_of_tokens(self.labels, learned, classes=self._task.classes, kinds=self._kinds())

    def _kinds(self) -> dict[str, list[int]]:
        if self._list is None or self._words is None:
            return {}
        every, words = set(range(len(self._list))), set(self._words.tolist())
        marks = {number for number in every if self._list.entries[number] in MARKS}
        special = set(range(len(SPECIAL)))
        return {
            "whole words": sorted(words),
            "pieces of words": sorted(every - words - marks - special),
            "marks": sorted(marks),
            "what no word is": sorted(special),
        }

    def quality(self, answer: Answer) -> Quality:
        asked = token_answers(answer, self.x, self.labels, words=self._words)
        fit, scaled, fitted = self._task.validation, None, 0
        if fit.y is not None and len(fit):
            logits, labels = fitting_tokens(answer, fit.x, fit.y)
            fitted, temperature = len(labels), fitted_temperature(logits, labels)
            scaled = token_answers(answer, self.x, self.labels, temperature=temperature).calibration()
        return Quality(
            plain=asked.calibration(),
            scaled=scaled,
            scaling_examples=fitted,
            first=asked.first,
            text=text_figures(
                asked, self.slices, rows=self.examples, of_rows=self.of_rows, words=self._words
            ),
        )

    def agreement(self, student: Answer, teacher: TeacherModel) -> Agreement:
        mine = token_answers(student, self.x, self.labels)
        theirs = token_answers(lambda x: teacher.answer(x).logits, self.x, self.labels)
        slices = self.slices | quarters("teacher's confidence", theirs.confidence)
        return agreement_of(mine.first, theirs.first, mine.labels, slices)
