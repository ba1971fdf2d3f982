"""Asks a student's package and its teacher about a task's test examples, and reports where they part."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.package.constraints.classes import class_numbers
from fedstill_proto.package.constraints.plainly import PlainReader
from fedstill_proto.text.vocabulary import WordList

from fedstill_server.calibration import fitted_temperature
from fedstill_server.data.examples import Examples
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.tasks import DistillTask
from fedstill_server.distill.teachers import TeacherModel
from fedstill_server.inspection.agreement import quarters
from fedstill_server.inspection.corruption import Answer
from fedstill_server.inspection.judging.judges import judge_of
from fedstill_server.inspection.judging.of_text import TextJudge
from fedstill_server.inspection.judging.quality import Judge
from fedstill_server.inspection.parting.differences import Differences, differences
from fedstill_server.inspection.parting.report import Parting, parting_of
from fedstill_server.inspection.tokens import fitting_tokens
from fedstill_server.publish.constraints import constraints_of

_BEFORE, _LETTERS = 12, 160  # tokens before one that are shown, and letters of a text


def ask_both(
    package: StudentPackage,
    answer: Answer,
    task: DistillTask,
    teacher: TeacherModel,
    *,
    rows: int = 0,
    most: int = 20,
) -> Parting:
    """Where a student and its teacher part most.

    Args:
        package: The student's package, whose constraints hide no difference: the graph itself is asked.
        answer: Its graph.
        task: What it was made for.
        teacher: Its teacher.
        rows: Test examples at most; 0 is all, and of text as many as take seconds.
        most: How many examples are listed.

    Raises:
        DistillError: The task's answers are vectors.
    """
    if not task.has_classes:
        raise DistillError(
            f"task {task.name} has vectors for answers, and no classes or tokens to compare; its score "
            "says how alike they are"
        )
    judge = judge_of(task, rows=rows)
    theirs = _asked(teacher)
    mine, other = (_temperature(each, task.validation, task.places) for each in (answer, theirs))
    calibrated = mine is not None and other is not None
    temperatures = (mine or 1.0, other or 1.0) if calibrated else (1.0, 1.0)
    found = differences(answer, theirs, judge.x, judge.labels, temperatures=temperatures)
    text = _TextOf(task, judge.x)
    return parting_of(
        found,
        _slices(found, task, judge, text, package),
        what="tokens" if task.places > 1 else "examples",
        named=_named(task),
        described=text.described,
        temperatures=temperatures,
        calibrated=calibrated,
        most=most,
    )


def _asked(teacher: TeacherModel) -> Answer:
    def answer(x: FloatArray) -> FloatArray:
        return teacher.answer(x).logits

    return answer


def _temperature(answer: Answer, held_out: Examples, places: int) -> float | None:
    """The temperature fitted on held-out examples; None without any."""
    if held_out.y is None or not len(held_out):
        return None
    if places > 1:
        logits, labels = fitting_tokens(answer, held_out.x, held_out.y)
        return fitted_temperature(logits, labels)
    return fitted_temperature(answer(held_out.x), held_out.y)


def _named(task: DistillTask) -> Callable[[int], str]:
    """What an answer of the task is called."""
    if task.class_names:
        return lambda number: task.class_names[number]
    vocabulary = task.files.vocabulary
    if task.places > 1 and vocabulary is not None:
        entries = WordList.from_json(vocabulary).entries
        return lambda number: entries[number]
    if task.places > 1 and task.files.tokenizer is not None:
        text = _subword_text(task)
        return lambda number: text([number]).strip() or f"token {number}"
    return lambda number: f"{'token' if task.places > 1 else 'class'} {number}"


def _subword_text(task: DistillTask) -> Callable[[list[int]], str]:
    from fedstill_proto.subwords.reader import SubwordReader  # needs the library of tokenizers

    subwords = task.files.subwords
    assert task.files.tokenizer is not None
    assert subwords is not None
    reader = SubwordReader(task.files.tokenizer, places=subwords.places, pad=subwords.pad)
    return reader.text


class _TextOf:
    """What examples say, where they are text, and how long they are."""

    def __init__(self, task: DistillTask, x: npt.NDArray[np.generic]) -> None:
        self._x, self._places = x, task.places
        self._text: Callable[[list[int]], str] | None = None
        self._pad = -1
        if task.files.subwords is not None and task.files.tokenizer is not None:
            self._text, self._pad = _subword_text(task), task.files.subwords.pad
        elif task.files.vocabulary is not None:
            self._text = WordList.from_json(task.files.vocabulary).decode

    @property
    def by_token(self) -> bool:
        return self._text is not None

    def described(self, row: int, place: int) -> str:
        """What an example says; of next tokens, what stands before."""
        if self._text is None:
            return ""
        numbers = [int(number) for number in self._x[row]]
        if self._places > 1:
            numbers = numbers[max(0, place + 1 - _BEFORE) : place + 1]
        said = self._text([number for number in numbers if number != self._pad])
        return said[-_LETTERS:] if self._places > 1 else said[:_LETTERS]

    def lengths(self) -> IntArray:
        """How many tokens each row has that are no padding [rows]."""
        return np.asarray((self._x != self._pad).sum(axis=1), np.int64)


def _slices(
    found: Differences, task: DistillTask, judge: Judge, text: _TextOf, package: StudentPackage
) -> Mapping[str, npt.NDArray[np.bool_]]:
    slices = quarters("teacher's confidence", found.their_share)
    if isinstance(judge, TextJudge):
        slices |= judge.slices
        slices |= quarters("place in the row", found.place)
    else:
        if text.by_token:
            slices |= quarters("length", text.lengths()[found.row])
        elif task.form.amounts:
            slices |= quarters("brightness", judge.x.reshape(len(judge.x), -1).mean(axis=1)[found.row])
        if task.test_groups is not None and len(task.test_groups) == len(found):
            groups = np.array(task.test_groups)
            slices |= {str(name): groups == name for name in np.unique(groups)}
    constraints, named = constraints_of(package), _named(task)
    if constraints.concerns_text and task.places > 1:
        plain = PlainReader(constraints)
        held = np.array([bool(plain.holds(named(number))) for number in range(task.classes)])
        slices |= {"suppressed words": held[found.labels], "suppressed, says the teacher": held[found.theirs]}
    elif constraints.all_classes and task.places == 1:
        numbers = class_numbers(constraints, classes=task.classes, names=task.class_names)
        slices |= {"suppressed classes": np.isin(found.labels, sorted(numbers))}
    return slices
