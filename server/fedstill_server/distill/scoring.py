"""How good a student or a teacher is on a task: its accuracy, and the perplexity of next words."""

from __future__ import annotations

import math

import torch
from fedstill_proto.arrays import FloatArray, IntArray
from torch import nn
from torch.nn.functional import cross_entropy

from fedstill_server.data.examples import Examples
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.tasks import DistillTask
from fedstill_server.tasks.text.networks import logits_in_parts, next_word_accuracy
from fedstill_server.teachers.interface import TeacherModel
from fedstill_server.training.networks import accuracy_of, logits_of


def accuracy_on(network: nn.Module, examples: Examples) -> float:
    """The share of labels, or of the next words of text, that are the network's first choice."""
    assert examples.y is not None
    if examples.y.ndim > 1:
        return next_word_accuracy(network, examples.x, examples.y)
    return accuracy_of(network, examples.x, examples.y)


def perplexity_on(network: nn.Module, examples: Examples) -> float:
    """exp of the mean cross-entropy of the next words y [n, S]."""
    assert examples.y is not None
    total = 0.0
    for part, logits in logits_in_parts(network, examples.x):
        by_place = torch.from_numpy(logits.reshape(-1, logits.shape[-1]))
        total += float(
            cross_entropy(by_place, torch.from_numpy(examples.y[part].reshape(-1)), reduction="sum")
        )
    return math.exp(total / examples.y.size)


def score_of(network: nn.Module, task: DistillTask) -> float:
    """A student's accuracy on the test examples, or what the task has in its place."""
    own = task.scored(lambda x: logits_of(network, x))
    return accuracy_on(network, task.test) if own is None else own


def teacher_accuracy(teacher: TeacherModel, task: DistillTask) -> float:
    """A teacher's on the test examples, or what the task has in its place."""
    own = task.scored(lambda x: teacher.answer(x).logits)
    if own is not None:
        return own
    assert task.test.y is not None
    step = task.rows_asked or len(task.test)
    right = 0
    for start in range(0, len(task.test), step):
        part = slice(start, start + step)
        right += int((_about(task, teacher.answer(task.test.x[part]).logits) == task.test.y[part]).sum())
    return right / task.test.y.size


def check_teacher(teacher: TeacherModel, task: DistillTask) -> None:
    """Raises DistillError unless its answer to one example is about the task's classes, where it has any."""
    answered = teacher.answer(task.public.x[:1]).logits
    if task.has_classes:
        _about(task, answered)


def _about(task: DistillTask, logits: FloatArray) -> IntArray:
    """The first choices."""
    if logits.shape[-1] != task.classes:
        raise DistillError(
            f"teacher: answers with {logits.shape[-1]} {task.class_name}, and task {task.name} has "
            f"{task.classes}{task.hint}"
        )
    first: IntArray = logits.argmax(-1)
    return first
