"""A whole distillation as a person asks for it: from names to a folder with the student's package.

<out>/student/           the package
<out>/exits/<family>/    further students, where a technique makes any
<out>/distill.json       what was asked for, and what came of it
<out>/checkpoints/       while it runs
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import Parameters
from fedstill_proto.package.input_rule import InputRule
from fedstill_proto.system.sealed import read_sealed_json, write_sealed_json
from torch import nn

from fedstill_server.config.codec import from_json, to_json
from fedstill_server.distill.answers import AnswerFile
from fedstill_server.distill.engine import paired_layers
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.inheritance import with_constraints
from fedstill_server.distill.job import DistillJob, Trained, gathered
from fedstill_server.distill.layers import LOGITS
from fedstill_server.distill.next_subword_request import asks_for_next_subwords, open_next_subwords
from fedstill_server.distill.next_subwords import NextSubwordDistillTask, next_subword_teacher
from fedstill_server.distill.packing import pack_student
from fedstill_server.distill.request import DistillRequest
from fedstill_server.distill.scoring import check_teacher, score_of, teacher_accuracy
from fedstill_server.distill.stage_runner import StageRunner, StageWatcher
from fedstill_server.distill.subword_plan import TRAINED_HERE
from fedstill_server.distill.subword_request import is_subword_request, open_subwords
from fedstill_server.distill.subword_task import SubwordTask
from fedstill_server.distill.tasks import DistillTask, open_task
from fedstill_server.distill.teachers import EnsembleTeacher, TeacherModel, TorchTeacher
from fedstill_server.distill.teachers.hub import AskedByText, first_parameters, hub_teacher
from fedstill_server.distill.teachers.opening import open_teacher
from fedstill_server.distill.teachers.saved import saved_rule
from fedstill_server.distill.text_task import TextDistillTask, open_text
from fedstill_server.families import FAMILIES, build_student
from fedstill_server.hugging_face.reference import is_hub_place
from fedstill_server.training.networks import load_parameters

_WORDS_OF_A_ROW = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What came of it; accuracies, or scores in their place, are on the task's test examples."""

    package: Path
    family: str
    parameters: int
    accuracy: float
    teacher_accuracy: float | None
    exits: Mapping[str, float]  # accuracy by family
    seconds: float
    notes: tuple[str, ...]
    perplexity: float | None = None  # of text
    score_name: str = "accuracy"

    def to_json(self) -> dict[str, Any]:
        return {
            **vars(self),
            "package": str(self.package),
            "exits": dict(self.exits),
            "notes": list(self.notes),
        }


def distil(request: DistillRequest, out: Path, *, watch: StageWatcher | None = None) -> Outcome:
    """Do what is asked for; a run that was killed goes on where it was."""
    request, task = _opened(request)
    return distil_task(request, task, out, watch=watch)


def distil_task(
    request: DistillRequest,
    task: DistillTask,
    out: Path,
    *,
    teachers: Sequence[TeacherModel] = (),
    watch: StageWatcher | None = None,
) -> Outcome:
    """Distil a student for a task that is open already.

    Args:
        request: What is asked for, with the student's family.
        task: What the student learns; the request's own task is a name for the record.
        out: The folder to write; one that holds this distillation, killed half-way, is gone on with.
        teachers: Teachers beside those that the request names.
        watch: Called after each epoch.

    Raises:
        FedstillError: Something asked for is not there, or does not fit.
    """
    started = time.perf_counter()
    task = with_constraints(request, task)
    checkpoints = out / "checkpoints"
    runner = StageRunner(folder=checkpoints, validation=task.validation, watch=watch)
    teacher = _teacher(request, task, runner, teachers)
    if isinstance(task, SubwordTask) and teacher is not None:
        asked = teacher
        task = task.compared_with(lambda x: asked.answer(x).logits)
    job = _job(request, task, teacher)
    recipe = request.recipe()
    made = runner.train("student", job) if recipe is None else recipe.run(job, runner)
    outcome = _packed(request, task, teacher, made, out, runner, seconds=time.perf_counter() - started)
    document = {"request": to_json(request), "outcome": outcome.to_json()}
    write_sealed_json(out / "distill.json", document)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return outcome


def reopen_distillation(
    record: Path, *, task: str = "", teacher: str = "", seed: int | None = None
) -> tuple[DistillTask, TeacherModel | None]:
    """The task and the teacher of a distillation whose distill.json is `record`, or those that are named.

    A teacher that was trained on the spot is trained again: the same seed gives the same teacher.
    """
    request = DistillRequest()
    if record.is_file():
        request = from_json(DistillRequest, read_sealed_json(record)["request"], where=str(record))
    elif not task:
        raise DistillError(f"--task: needed, since there is no {record} to tell it")
    changes: dict[str, Any] = {"task": task or request.task}
    if teacher:
        changes["teacher"] = (teacher,)
    if seed is not None:
        changes["plan"] = replace(request.plan, seed=seed)
    _, opened, taught = open_distillation(replace(request, **changes), StageRunner())
    return opened, taught


def open_distillation(
    request: DistillRequest, runner: StageRunner
) -> tuple[DistillRequest, DistillTask, TeacherModel | None]:
    """The task and the teacher that are asked for, and the request with what follows from the task.

    Args:
        request: What is asked for.
        runner: Trains a teacher that is to be trained here.
    """
    request, task = _opened(request)
    return request, task, _teacher(request, task, runner)


def _opened(request: DistillRequest) -> tuple[DistillRequest, DistillTask]:
    """The task, and the request with what follows from it."""
    task: DistillTask
    if asks_for_next_subwords(request):
        request, task = open_next_subwords(request)
    elif is_subword_request(request):
        return open_subwords(request)
    elif any(map(is_hub_place, request.teacher)):
        raise DistillError(
            f"teacher: a model of Hugging Face reads texts, and the task {request.task} has none for a "
            "student of sub-words: give a .csv, .tsv or .txt file, or a folder of them"
        )
    elif request.tokenizer:
        raise DistillError(f"tokenizer: {request.task} is no text; give a .txt file, or a folder of them")
    else:
        task = next(opened for kind, opened in _OPENED if kind.is_at(request.task))(request)
    if not task.keeps_answers:
        if request.answers:
            raise DistillError(
                "answers: a teacher's answers to text are not cached: they are words times places times "
                "rows; leave it out, and the teacher is asked batch by batch"
            )
        # So many logits do not fit into memory, but those of a batch.
        request = replace(request, plan=replace(request.plan, online=bool(request.teacher)))
    return replace(request, family=request.family or task.default_family), task


def _arrays(request: DistillRequest) -> DistillTask:
    return open_task(
        request.task,
        seed=request.plan.seed,
        private_labels=request.private_labels,
        public_labels=request.public_labels,
        rule_of=partial(rule_for, request),
    )


def _is_trained_here(teacher: str) -> bool:
    return teacher.startswith(TRAINED_HERE)


def rule_for(request: DistillRequest, public_x: npt.NDArray[Any], *, given: bool = False) -> InputRule:
    """The rule by which a student is to read its inputs.

    Args:
        request: What is asked for.
        public_x: Public examples [n, ...], as they are given.
        given: Whether a teacher answers that has no name in the request.
    """
    if request.normalize == "auto" and (given or not all(map(_is_trained_here, request.teacher))):
        own = [rule for one in request.teacher if (rule := saved_rule(Path(one))) is not None]
        if own:
            return own[0]
        return InputRule.of(public_x, normalize="bytes", channels=request.channels)
    return InputRule.of(public_x, normalize=request.normalize, channels=request.channels)


def _text(request: DistillRequest) -> DistillTask:
    places = request.places or _WORDS_OF_A_ROW
    return open_text(request.task, words=request.words, places=places, vocabulary=request.vocabulary)


_OPENED: tuple[tuple[type[DistillTask], Callable[[DistillRequest], DistillTask]], ...] = (
    (TextDistillTask, _text),
    (DistillTask, _arrays),
)


def _teacher(
    request: DistillRequest, task: DistillTask, runner: StageRunner, others: Sequence[TeacherModel] = ()
) -> TeacherModel | None:
    named = [_one_teacher(text, task, runner, place) for place, text in enumerate(request.teacher)]
    teachers = [*named, *others]
    for teacher in teachers:
        check_teacher(teacher, task)
    if len(teachers) < 2:
        return teachers[0] if teachers else None
    return EnsembleTeacher(teachers, combination=request.combination, temperature=request.plan.temperature)


def _one_teacher(text: str, task: DistillTask, runner: StageRunner, place: int) -> TeacherModel:
    if is_hub_place(text) and isinstance(task, SubwordTask):
        return hub_teacher(text, task)
    if is_hub_place(text) and isinstance(task, NextSubwordDistillTask):
        return next_subword_teacher(text, task)
    if not _is_trained_here(text):
        return open_teacher(text, input_shape=task.input_shape, classes=task.classes)
    family = FAMILIES.named_one(text.removeprefix(TRAINED_HERE), where="teacher")
    if task.teaching.y is None or len(task.teaching) == 0:
        raise DistillError(f"teacher: {text}: the task has no labels to train a teacher on")
    plan = replace(task.teacher_plan, seed=place)
    job = DistillJob(
        family=family, classes=task.classes, x=task.teaching.x, labels=task.teaching.y, plan=plan
    )
    trained = runner.train(f"teacher-{place}", job)
    network = build_student(family, task.input_shape, task.classes)
    return TorchTeacher(load_parameters(network, trained.parameters), name=text)


def _job(request: DistillRequest, task: DistillTask, teacher: TeacherModel | None) -> DistillJob:
    x, labels = gathered(task.public, task.private)
    techniques = request.techniques()
    if teacher is None and not techniques and labels.ndim == 1:
        x, labels = x[labels >= 0], labels[labels >= 0]
    job = DistillJob(
        family=FAMILIES.named_one(request.family),
        classes=task.classes,
        x=x,
        labels=labels,
        plan=request.plan,
        teacher=teacher,
        techniques=techniques,
        held_out=task.validation if len(task.validation) else None,
    )
    if isinstance(task, SubwordTask) and isinstance(teacher, TorchTeacher | AskedByText):
        job = replace(job, start=first_parameters(job.family, task, teacher))
    if not request.answers:
        return job
    file = AnswerFile(Path(request.answers))
    if teacher is None:
        return replace(job, answers=file.recalled(x))
    student = build_student(job.family, task.input_shape, task.classes)
    layers = sorted({theirs for pairs in paired_layers(job, student) for _, theirs in pairs} - {LOGITS})
    return replace(job, answers=file.answers(teacher, x, layers=layers))


def _packed(
    request: DistillRequest,
    task: DistillTask,
    teacher: TeacherModel | None,
    made: Trained,
    out: Path,
    runner: StageRunner,
    *,
    seconds: float,
) -> Outcome:
    taught = None
    if teacher is not None:
        taught = teacher_accuracy(teacher, task)
    exits = {}
    for family, parameters in made.exits.items():
        exits[family] = _accuracy(task, family, parameters)
        quality = {task.score_name.replace(" ", "_"): exits[family]}
        pack_student(out / "exits" / family, task, family, parameters, quality=quality)
    accuracy = _accuracy(task, made.family, made.parameters)
    score = task.score_name.replace(" ", "_")
    quality = {score: accuracy, "test_examples": float(len(task.test))}
    quality |= task.measured(_network(task, made.family, made.parameters))
    if taught:
        quality |= {f"teacher_{score}": taught, "retention": accuracy / taught}
    pack_student(
        out / "student", task, made.family, made.parameters, quality=quality, trainable=request.trainable
    )
    return Outcome(
        package=out / "student",
        family=made.family,
        parameters=int(sum(np.size(array) for array in made.parameters.values())),
        accuracy=accuracy,
        teacher_accuracy=taught,
        exits=exits,
        seconds=seconds,
        notes=tuple(runner.notes),
        perplexity=quality.get("perplexity"),
        score_name=task.score_name,
    )


def _accuracy(task: DistillTask, family: str, parameters: Parameters) -> float:
    return score_of(_network(task, family, parameters), task)


def _network(task: DistillTask, family: str, parameters: Parameters) -> nn.Module:
    return load_parameters(build_student(family, task.input_shape, task.classes, seed=0), parameters)
