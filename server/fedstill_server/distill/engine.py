"""The distiller: trains one student by a job, and can be killed at any moment.

Every random choice follows from the plan's seed and the epoch, and a checkpoint holds the student, the
techniques' own modules and the optimizer; so a run that was killed and started again ends bit for bit as if
it had never been killed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import torch
from fedstill_proto.arrays import Parameters
from torch import Tensor, nn
from torch.nn.functional import one_hot

from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.fixed import FixedBatch, FixedTarget, FixedTargets
from fedstill_server.distill.job import UNKNOWN, DistillJob, Trained
from fedstill_server.distill.layers import LOGITS, parts_of_teacher, parts_shown, watched
from fedstill_server.distill.sub_words import cut, heard_places, order_by_length
from fedstill_server.distill.technique import Setting, Step, Term, scale_to_mean_one
from fedstill_server.families import build_student
from fedstill_server.families.state import train_mode
from fedstill_server.losses import cross_entropy
from fedstill_server.randomness import derived_seed
from fedstill_server.teachers.interface import TeacherAnswers
from fedstill_server.training.checkpoint import TrainingState, read_checkpoint, write_checkpoint
from fedstill_server.training.networks import (
    load_parameters,
    one_deterministic_thread,
    parameters_of,
    seeded,
)

_ROWS_AT_ONCE = 8192  # examples that are gathered at a time
_ROWS_SHOWN = 2  # examples from which techniques read the shapes of features


class _Batch(NamedTuple):
    """A part of an epoch; a NamedTuple, since one is made for every step."""

    rows: Tensor  # [B], of all examples
    x: Tensor
    labels: Tensor
    labelled: Tensor
    teacher_logits: Tensor | None
    fixed: FixedBatch | None


@dataclass(frozen=True, kw_only=True)
class EpochDone:
    """How an epoch went: the mean loss, and the mean of each part of it by name."""

    epoch: int  # from 1
    epochs: int
    loss: float
    parts: Mapping[str, float]


Watcher = Callable[[EpochDone], None]


def train(job: DistillJob, *, checkpoint: Path | None = None, watch: Watcher | None = None) -> Trained:
    """Train the student of a job.

    Args:
        job: What is trained, on what, and how.
        checkpoint: A file to go on from if it is there, and to write every few epochs; None keeps nothing.
        watch: Is called after each epoch.

    Returns:
        The trained student. The same job gives the same student, however often its training was interrupted.

    Raises:
        DistillError: The job cannot be trained.
        CheckpointError: The checkpoint is damaged, or another job's.
    """
    started = time.perf_counter()
    with one_deterministic_thread():
        run = _Run(job)
        first = run.resume(checkpoint)
        loss = 0.0
        for epoch in range(first, job.plan.epochs):
            parts = run.epoch(epoch)
            loss = sum(parts.values())
            if watch is not None:
                watch(EpochDone(epoch=epoch + 1, epochs=job.plan.epochs, loss=loss, parts=parts))
            last = epoch + 1 == job.plan.epochs
            if checkpoint is not None and ((epoch + 1) % job.plan.checkpoint_epochs == 0 or last):
                write_checkpoint(checkpoint, run.state(epoch + 1), fingerprint=run.fingerprint)
        exits: dict[str, Parameters] = {}
        for term in run.working():
            exits |= term.exits(run.student)
    return Trained(
        family=job.family,
        parameters=parameters_of(run.student),
        exits=exits,
        seconds=time.perf_counter() - started,
        loss=loss,
    )


def paired_layers(job: DistillJob, student: nn.Module) -> list[tuple[tuple[str, str], ...]]:
    """The (student layer, teacher layer) that each technique of a job compares."""
    teacher, pairs = job.teacher, []
    cached = () if job.answers is None else tuple(job.answers.features)
    for technique in job.techniques:
        kind = technique.compares
        of_student, of_teacher = parts_shown(student, kind), parts_of_teacher(teacher, kind)
        pairs.append(technique.pairs(of_student, of_teacher or cached))
    return pairs


class _Run:
    """A job that is being trained."""

    def __init__(self, job: DistillJob) -> None:
        job.check_taught()
        self.job, plan = job, job.plan
        self.fingerprint = job.fingerprint()
        self.x, self.labels = torch.from_numpy(job.x), torch.from_numpy(job.labels)
        self.student = build_student(
            job.family, job.input_shape, job.classes, seed=derived_seed(plan.seed, 0, "student")
        )
        if job.start is not None:
            load_parameters(self.student, job.start)
        self._pair_layers()
        self._ask_teacher()
        self._begin_terms()
        self.fixed = self._fix_targets()
        self.trained = [
            *self.student.parameters(),
            *(value for value in self.terms.parameters() if value.requires_grad),
        ]
        self.optimizer = torch.optim.AdamW(
            self.trained, lr=plan.learning_rate, weight_decay=plan.weight_decay, fused=True
        )
        self.steps = plan.epochs * -(-len(self.x) // plan.batch_size)
        self.done = 0
        self.lengths = self._lengths() if plan.by_length else None

    def _lengths(self) -> Tensor:
        """How many sub-words each example has [n]."""
        heard = heard_places(self.student, self.x)
        if heard is None or self.labels.dim() > 1:
            raise DistillError("by_length: is for sub-words and students of one answer to a text")
        if self.answers is not None and self.teacher_layers:
            raise DistillError(
                "by_length: batches are cut, and what the teacher's layers said is kept of whole rows; ask "
                "it about each batch, with online = true"
            )
        return heard.sum(dim=1)

    def _pair_layers(self) -> None:
        self.pairs = paired_layers(self.job, self.student)
        pairs = [pair for each in self.pairs for pair in each]
        self.student_layers = sorted({mine for mine, _ in pairs} - {LOGITS})
        self.teacher_layers = sorted({theirs for _, theirs in pairs} - {LOGITS})

    def _ask_teacher(self) -> None:
        """Ask the teacher about all examples before the first step, unless the plan says online."""
        job = self.job
        self.answers: TeacherAnswers | None = None
        if job.plan.online:
            if job.teacher is None:
                raise DistillError("online: there is no teacher to ask")
            return
        if job.answers is not None:
            self.answers = job.answers
        elif job.teacher is not None and job.techniques:
            self.answers = job.teacher.answer(job.x, layers=self.teacher_layers)
        if self.answers is not None:
            self.teacher_logits = torch.from_numpy(self.answers.logits)
            self.teacher_features = {
                layer: torch.from_numpy(self.answers.features[layer]) for layer in self.teacher_layers
            }

    def _taught(
        self, rows: Tensor, batch: Tensor, logits: Tensor | None
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """The teacher's logits and features of a batch; `logits` are its cached ones."""
        if logits is not None:
            features = {layer: values[rows] for layer, values in self.teacher_features.items()}
        elif self.job.plan.online and self.job.teacher is not None:
            asked = self.job.teacher.answer(batch.numpy(), layers=self.teacher_layers)
            features = {layer: torch.from_numpy(asked.features[layer]) for layer in self.teacher_layers}
            logits = torch.from_numpy(asked.logits)
        else:
            return None, {}
        return logits, {**features, LOGITS: logits}

    def _begin_terms(self) -> None:
        shown = self.x[:_ROWS_SHOWN]
        kept = None if self.answers is None else self.teacher_logits[: len(shown)]
        logits, features = self._taught(torch.arange(len(shown)), shown, kept)
        with torch.no_grad(), watched(self.student, self.student_layers) as seen:
            mine = {**seen, LOGITS: self.student(shown)} | dict(seen)
        terms: list[Term] = []
        for number, technique in enumerate(self.job.techniques):
            setting = Setting(
                plan=self.job.plan,
                family=self.job.family,
                student=self.student,
                input_shape=self.job.input_shape,
                classes=self.job.classes,
                pairs=self.pairs[number],
                student_features=mine,
                teacher_features=features,
                teacher_classes=0 if logits is None else logits.shape[-1],
                teacher_logits=None if self.answers is None else self.teacher_logits,
                teacher=self.job.teacher,
                held_out=self.job.held_out,
            )
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(derived_seed(self.job.plan.seed, number, f"technique/{technique.name}"))
                terms.append(technique.begin(setting))
        self.terms = nn.ModuleList(terms)

    def _fix_targets(self) -> FixedTargets | None:
        """What needs no autograd: the labels of whole examples, and soft labels that are known."""
        plan = self.job.plan
        soft_weight = plan.soft_weight if self.job.techniques else 0.0
        terms = list(self.working())
        fixed = []
        if self.labels.dim() == 1 and not any(_overrides(term, "label_logits") for term in terms):
            known = (self.labels != UNKNOWN).unsqueeze(-1)
            table = one_hot(self.labels.clamp(min=0), self.job.classes) * known
            fixed.append(FixedTarget("labels", table.float(), 1.0, 1 - soft_weight))
        if not any(_overrides(term, "example_weights") for term in terms):
            for technique, term in zip(self.job.techniques, terms, strict=True):
                soft = term.soft_labels()
                if soft is not None and soft.shape[-1] == self.job.classes:
                    weight = soft_weight * technique.weight
                    fixed.append(FixedTarget(technique.name, soft, plan.temperature, weight))
        return FixedTargets(fixed) if fixed else None

    def epoch(self, epoch: int) -> dict[str, float]:
        """Train one epoch; returns the mean of each part of the loss."""
        train_mode(self.student)
        # Read at the end: to look at a value costs a step as much as a layer.
        fixed: list[FixedBatch] = []
        values: list[Tensor] = []
        parts: list[dict[str, Tensor]] = []
        with ExitStack() as open_layers:
            self.seen = open_layers.enter_context(watched(self.student, self.student_layers))
            open_layers.enter_context(seeded(derived_seed(self.job.plan.seed, epoch, "dropout")))
            for batch in self._batches(epoch):
                value, others = self._step(batch)
                if value is not None and batch.fixed is not None:
                    values.append(value)
                    fixed.append(batch.fixed)
                parts.append(others)
        for term in self.working():
            term.after_epoch(self.student, progress=(epoch + 1) / self.job.plan.epochs)
        names = dict.fromkeys(name for each in parts for name in each)
        known = {} if self.fixed is None else self.fixed.losses(values, fixed)
        return known | {
            name: sum(each[name].item() for each in parts if name in each) / len(parts) for name in names
        }

    def _batches(self, epoch: int) -> Iterator[_Batch]:
        """All examples in the epoch's order, gathered for many batches at once: slicing costs nothing."""
        plan = self.job.plan
        random = torch.Generator().manual_seed(derived_seed(plan.seed, epoch, "order"))
        order = torch.randperm(len(self.x), generator=random)
        if self.lengths is not None:
            order = order_by_length(order, self.lengths, batch_size=plan.batch_size, random=random)
        for rows in order.split(plan.batch_size * max(1, _ROWS_AT_ONCE // plan.batch_size)):  # type: ignore[no-untyped-call]
            labels = self.labels[rows]
            tables = [rows, self.x[rows], labels, labels != UNKNOWN]
            if self.answers is not None:
                tables.append(self.teacher_logits[rows])
            parts = [table.split(plan.batch_size) for table in tables]
            fixed = repeat(None) if self.fixed is None else self.fixed.batches(rows, plan.batch_size)
            for mine, x, own, labelled, *taught, known in zip(*parts, fixed, strict=False):
                if plan.input_noise:
                    x = x + plan.input_noise * torch.randn(x.shape, generator=random)
                yield _Batch(mine, x, own, labelled, taught[0] if taught else None, known)

    def _step(self, batch: _Batch) -> tuple[Tensor | None, dict[str, Tensor]]:
        """The values of the fixed targets, and the other parts of the loss by name."""
        plan = self.job.plan
        falling = 0.5 * (1 + math.cos(math.pi * self.done / self.steps))
        for group in self.optimizer.param_groups:
            group["lr"] = plan.learning_rate * falling
        x, heard = batch.x, heard_places(self.student, batch.x)
        if self.lengths is not None and heard is not None:
            x = cut(x, heard)
            heard = heard[:, : x.shape[1]]
        logits = self.student(x)
        taught, features = self._taught(batch.rows, x, batch.teacher_logits)
        step = Step(
            x=x,
            heard=heard,
            labels=batch.labels,
            labelled=batch.labelled,
            logits=logits,
            features={**self.seen, LOGITS: logits},
            teacher_logits=taught,
            teacher_features=features,
            progress=self.done / self.steps,
            number=self.done,
            temperature=plan.temperature,
        )
        parts = self._parts(self._weighed(step))
        starts = list(parts.values())
        gradients: list[Tensor | None] = [None] * len(parts)
        values = None
        if self.fixed is not None and batch.fixed is not None:
            values, gradient = self.fixed.slopes(logits, batch.fixed)
            starts, gradients = [*starts, logits], [*gradients, gradient]
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(starts, gradients)
        self.optimizer.step()
        self.done += 1
        for term in self.working():
            term.after_step(self.student)
        return values, {name: value.detach() for name, value in parts.items()}

    def _weighed(self, step: Step) -> Step:
        """The step with the weight of each example: the product of all that techniques return."""
        weights: Tensor | None = None
        for term in self.working():
            one = term.example_weights(step)
            if one is not None:
                weights = one.detach() if weights is None else weights * one.detach()
        if weights is not None:
            weights = scale_to_mean_one(weights)
        if step.labels.dim() > 1:
            # An example of text is a row of places; those without a word count nothing.
            rows = 1.0 if weights is None else weights.unsqueeze(-1)
            weights = step.labelled * rows
        return step if weights is None else replace(step, weights=weights)

    def _parts(self, step: Step) -> dict[str, Tensor]:
        """The loss's parts by name, each with its weight, but for those with fixed targets."""
        soft_weight = self.job.plan.soft_weight if self.job.techniques else 0.0
        fixed = () if self.fixed is None else self.fixed.names
        parts: dict[str, Tensor] = {}
        if "labels" not in fixed:
            logits = step.logits
            for term in self.working():
                logits = term.label_logits(logits, step)
            parts["labels"] = (1 - soft_weight) * cross_entropy(logits, step.labels, mask=step.labelled)
        for technique, term in zip(self.job.techniques, self.working(), strict=True):
            soft = None if technique.name in fixed else term.loss(step)
            hard = term.hard_loss(step)
            if soft is not None:
                parts[technique.name] = soft_weight * technique.weight * soft
            if hard is not None:
                parts[f"{technique.name}/labels"] = (1 - soft_weight) * hard
        return parts

    def working(self) -> Iterator[Term]:
        """The techniques' terms, in their order."""
        for term in self.terms:
            assert isinstance(term, Term)
            yield term

    def state(self, epoch: int) -> TrainingState:
        return TrainingState(
            epoch=epoch,
            modules={"student": self.student, "terms": self.terms},
            optimizer=self.optimizer,
            trained=self.trained,
        )

    def resume(self, path: Path | None) -> int:
        """The epoch to go on with: 0, or what a checkpoint holds."""
        if path is None or not path.exists():
            return 0
        epoch = read_checkpoint(path, self.state(0), fingerprint=self.fingerprint)
        self.done = epoch * -(-len(self.x) // self.job.plan.batch_size)
        return epoch


def _overrides(term: Term, hook: str) -> bool:
    return getattr(type(term), hook) is not getattr(Term, hook)
