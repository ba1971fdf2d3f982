"""Judges by one label for each example."""

from __future__ import annotations

from fedstill_server.calibration import calibration, fitted_temperature
from fedstill_server.distill.tasks import DistillTask
from fedstill_server.distill.teachers import TeacherModel
from fedstill_server.inspection.agreement import Agreement, agreement
from fedstill_server.inspection.corruption import Answer
from fedstill_server.inspection.judging.quality import Quality, spread


class ClassJudge:
    """The test examples [n, *shape] and their labels [n].

    Attributes:
        nothing: The number that stands for nothing where examples are names; None where they are amounts.
    """

    def __init__(self, task: DistillTask, rows: int) -> None:
        assert task.test.y is not None
        chosen = spread(len(task.test), rows)
        self.x, self.labels = task.test.x[chosen], task.test.y[chosen]
        self.examples = len(chosen)
        self._groups = None if task.test_groups is None else [task.test_groups[row] for row in chosen]
        self._held_out = task.validation
        self.nothing: float | None = None
        if not task.form.amounts:
            self.nothing = 0.0 if task.files.subwords is None else float(task.files.subwords.pad)

    def quality(self, answer: Answer) -> Quality:
        logits = answer(self.x)
        fit, scaled = self._held_out, None
        if fit.y is not None and len(fit):
            scaled = calibration(logits, self.labels, temperature=fitted_temperature(answer(fit.x), fit.y))
        plain = calibration(logits, self.labels)
        return Quality(
            score=plain.accuracy,
            plain=plain,
            scaled=scaled,
            scaling_examples=len(fit) if scaled is not None else 0,
            first=logits.argmax(-1),
        )

    def agreement(self, student: Answer, teacher: TeacherModel) -> Agreement:
        theirs = teacher.answer(self.x).logits
        lengths = None if self.nothing is None else (self.x != self.nothing).sum(axis=1)
        return agreement(self.x, self.labels, student(self.x), theirs, groups=self._groups, lengths=lengths)
