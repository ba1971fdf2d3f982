"""A model of Hugging Face as a teacher of rows of sub-words.

One that has the student's tokenizer reads the student's rows, and shows its layers. One that has another is
asked by text: a row stands for its text, which the teacher's own tokenizer reads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from fedstill_proto.arrays import FloatArray, Parameters
from fedstill_proto.package.subwords import CLASSES, EMBEDDING
from torch import Tensor, nn

from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.subword_task import SubwordTask
from fedstill_server.distill.teachers.torch_module import TorchTeacher
from fedstill_server.families import build_student
from fedstill_server.families.state import frozen_tensors
from fedstill_server.hugging_face.configuration import places_at_most
from fedstill_server.hugging_face.errors import HubModelError
from fedstill_server.hugging_face.initialization import begin_as
from fedstill_server.hugging_face.network import SubwordNetwork
from fedstill_server.hugging_face.opening import OpenedModel, open_model
from fedstill_server.hugging_face.reference import HubReference
from fedstill_server.hugging_face.tokenizer import SubwordTokenizer
from fedstill_server.teachers.interface import TeacherAnswers, refuse_layers
from fedstill_server.training.networks import parameters_of

_MOST_PLACES = 256  # that a teacher with another tokenizer reads of a text
_ROWS_AT_ONCE = 64


class AskedByText:
    """A teacher with another tokenizer than the student's: it reads the texts that rows stand for."""

    layers: tuple[str, ...] = ()
    attention: tuple[str, ...] = ()

    def __init__(
        self, network: nn.Module, tokenizer: SubwordTokenizer, task: SubwordTask, *, most_places: int | None
    ) -> None:
        self.inner = TorchTeacher(network)
        self.tokenizer, self.task = tokenizer, task
        self.places = min(_MOST_PLACES, most_places or _MOST_PLACES)
        parts = self.inner.digest.encode() + tokenizer.content
        self.digest = hashlib.sha256(parts).hexdigest()

    def parts(self, kind: str) -> tuple[str, ...]:
        """Nothing is shown: its places are not the student's."""
        return ()

    def answer(self, x: FloatArray, *, layers: Sequence[str] = ()) -> TeacherAnswers:
        refuse_layers(layers, "a teacher with another tokenizer than the student's")
        texts = self.task.texts_of(x)
        logits = []
        for start in range(0, len(texts), _ROWS_AT_ONCE):
            part = texts[start : start + _ROWS_AT_ONCE]
            longest = min(max(self.tokenizer.lengths(part)), self.places)
            logits.append(self.inner.answer(self.tokenizer.rows(part, places=longest)).logits)
        return TeacherAnswers(np.concatenate(logits))


class _Reordered(nn.Module):
    """A classifier whose classes stand in another order."""

    order: Tensor

    def __init__(self, network: nn.Module, order: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("order", torch.tensor(order))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x)[:, self.order]
        return logits


def hub_teacher(text: str, task: SubwordTask) -> TorchTeacher | AskedByText:
    """The teacher at a place such as hf:models/bert, for a task of texts.

    Raises:
        HubModelError: It cannot be opened.
        DistillError: It says something else of a text than the task asks for.
    """
    opened = open_model(HubReference.of(text, where="teacher"), answer=_asked(text, task), where="teacher")
    _check_answer(text, opened, task)
    network: nn.Module = opened.network
    if task.answer == CLASSES and (order := _order(opened, task)) is not None:
        network = _Reordered(network, order)
    tokenizer = opened.tokenizer
    if tokenizer is None or tokenizer.reads_as(task.tokenizer):
        if tokenizer is None and opened.config.vocab_size < task.tokenizer.size:
            raise DistillError(
                f"teacher: {text}: has no tokenizer, and fewer sub-words than the student's has"
            )
        return TorchTeacher(network, name=text)
    return AskedByText(network, tokenizer, task, most_places=places_at_most(opened.config))


def first_parameters(
    family: str, task: SubwordTask, teacher: TorchTeacher | AskedByText
) -> Parameters | None:
    """A student's first weights by its teacher's layers, where both are of one architecture and width.

    None where its own weights are there, or the teacher's would not fit.
    """
    student = build_student(family, task.input_shape, task.classes)
    network = teacher.inner.network if isinstance(teacher, AskedByText) else teacher.network
    network = network.network if isinstance(network, _Reordered) else network
    if not (isinstance(student, SubwordNetwork) and isinstance(network, SubwordNetwork)):
        return None
    mine, theirs = getattr(student.model, "config", None), getattr(network.model, "config", None)
    if frozen_tensors(student) or mine is None or theirs is None or mine.model_type != theirs.model_type:
        return None
    try:
        begin_as(student.model, network.model)
    except HubModelError:
        return None
    return parameters_of(student)


def _asked(text: str, task: SubwordTask) -> str:
    return EMBEDDING if task.answer == EMBEDDING else ""


def _check_answer(text: str, opened: OpenedModel, task: SubwordTask) -> None:
    if opened.kind != task.answer:
        raise DistillError(
            f"teacher: {text}: its answer is {opened.kind}, and the task's {task.answer}; give a model with "
            f"a head for it, train:{text} to train one here, or leave the labels out of the texts"
        )
    if opened.fresh:
        raise DistillError(
            f"teacher: {text}: has no trained weights for its answer; give a model that has, or train:{text} "
            "to train it here on the labels"
        )


def _order(opened: OpenedModel, task: SubwordTask) -> list[int] | None:
    """Which of the teacher's classes each class of the task is, by name; None where none is named so."""
    names = {str(name): int(number) for number, name in (opened.config.id2label or {}).items()}
    if set(names) == set(task.class_names):
        return [names[name] for name in task.class_names]
    return None
