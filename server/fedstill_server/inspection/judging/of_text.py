"""Judges by the next token in each place of rows."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from fedstill_proto.text.vocabulary import MARKS, SPECIAL, WordList

from fedstill_server.calibration import fitted_temperature
from fedstill_server.data.examples import Examples
from fedstill_server.distill.tasks import DistillTask
from fedstill_server.distill.teachers import TeacherModel
from fedstill_server.inspection.agreement import Agreement, agreement_of, quarters
from fedstill_server.inspection.corruption import Answer
from fedstill_server.inspection.judging.quality import Quality, spread
from fedstill_server.inspection.tokens import (
    Bools,
    fitting_tokens,
    slices_of_tokens,
    text_figures,
    token_answers,
)

_TEXT_VALUES = 1 << 28  # logits that a form of a student of text is judged by: seconds
_FEWEST_ROWS = 16


class TextJudge:
    """Rows [n, S] and the token that comes next in each place [n, S]."""

    def __init__(self, task: DistillTask, rows: int) -> None:
        assert task.test.y is not None
        most = rows or max(_FEWEST_ROWS, _TEXT_VALUES // (task.places * task.classes))
        chosen = spread(len(task.test), most)
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
        plain = asked.calibration()
        return Quality(
            score=plain.accuracy,
            plain=plain,
            scaled=scaled,
            scaling_examples=fitted,
            first=asked.first,
            next_tokens=text_figures(
                asked, self.slices, rows=self.examples, of_rows=self.of_rows, words=self._words
            ),
        )

    def agreement(self, student: Answer, teacher: TeacherModel) -> Agreement:
        mine = token_answers(student, self.x, self.labels)
        theirs = token_answers(lambda x: teacher.answer(x).logits, self.x, self.labels)
        slices = self.slices | quarters("teacher's confidence", theirs.confidence)
        return agreement_of(mine.first, theirs.first, mine.labels, slices)
