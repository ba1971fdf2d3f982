"""All steps of a round for a stack of devices, gathered one by one into what the training graph reads."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import ClassSoftLabels, PublicSoftLabels, RoundTask, SoftTargets
from fedstill_proto.mixed_rows import rows_with_mixed
from fedstill_proto.package.artifact import StudentManifest
from fedstill_proto.soft_labels.gaussian import GaussianSoftLabels
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels, SoftLabels, TopKSoftLabels

from fedstill_client.model.order import KeyArray, fill_uniform, uniform_keys
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.model.schedule import (
    PrivateSteps,
    SoftSteps,
    class_mean_steps,
    private_steps,
    public_steps,
    steps_of_devices,
)
from fedstill_client.model.step import StepArrays

__all__ = ["ArtifactMismatch", "PrivateStack", "StackPlan", "plan_batches"]


class ArtifactMismatch(FedstillError):
    """The task asks for work that this training artifact was not built for."""


@dataclass(frozen=True)
class StackPlan:
    """All steps of a round; S steps, C devices, B rows a batch."""

    table: FloatArray  # [n, *shape] that private rows are rows of
    public_x: FloatArray | None  # [M, *shape] the public examples that the task has soft labels of
    steps_of: IntArray  # [C] steps in which each device trains
    private_steps: PrivateSteps
    hard_weight: FloatArray  # [S, C, B]
    soft_steps: SoftSteps | None
    soft_labels: SoftLabels | None  # that soft_steps' labels are rows of
    learning_rate: FloatArray  # [S, C]
    temperature: float
    keys: KeyArray  # [C] of the random numbers that a step takes
    seed: int = 0  # of the words that a step of text draws besides its own

    @property
    def steps(self) -> int:
        """S: the steps of the device with most."""
        return int(self.learning_rate.shape[0])

    def part(self, devices: slice) -> StackPlan:
        """The plan of some of the devices, which ends with the last step that one of them trains in."""
        steps_of = self.steps_of[devices]
        here = (slice(0, int(steps_of.max(initial=0))), devices)
        return replace(
            self,
            steps_of=steps_of,
            private_steps=self.private_steps.part(here),
            hard_weight=self.hard_weight[here],
            soft_steps=None if self.soft_steps is None else self.soft_steps.part(here),
            learning_rate=self.learning_rate[here],
            keys=self.keys[devices],
        )

    def start(self, into: StepArrays) -> None:
        """Clear what another round left, and set what all steps share."""
        into.clear(self.temperature)

    def fill(self, step: int, into: StepArrays) -> None:
        """Gather one step; rows that the plan has no use for keep the weight 0 of `start`."""
        width = self.hard_weight.shape[2]
        _gather(into.read(self.table), self.private_steps.rows[step], into.x[:, :width])
        into.labels[:, :width] = self.private_steps.labels[step]
        into.hard_weight[:, :width] = _at_places(self.hard_weight[step], into.labels)
        into.lr[:] = self.learning_rate[step]
        if into.uniforms:
            fill_uniform(list(into.uniforms.values()), self.keys, step=step, devices=into.lr > 0)
        if self.soft_steps is not None:
            self._fill_soft(step, self.soft_steps, into)

    def _fill_soft(self, step: int, soft: SoftSteps, into: StepArrays) -> None:
        rows = slice(soft.first_row, soft.first_row + soft.labels.shape[2])
        if into.soft_weight is not None:
            into.soft_weight[:, rows] = _at_places(soft.weight[step], into.labels)
        if self.public_x is not None:
            _gather(into.read(self.public_x), soft.labels[step], into.x[:, rows])
        places = into.labels.shape[2:]
        if isinstance(self.soft_labels, TopKSoftLabels):
            if into.soft_indices is not None and into.soft_probabilities is not None:
                indices, named = self.soft_labels.indices, self.soft_labels.probabilities
                _gather(_by_example(indices, places), soft.labels[step], into.soft_indices[:, rows])
                _gather(_by_example(named, places), soft.labels[step], into.soft_probabilities[:, rows])
        elif self.soft_labels is not None and into.soft_labels is not None:
            dense = _by_example(self.soft_labels.dense(), places)
            _gather(dense, soft.labels[step], into.soft_labels[:, rows])


@dataclass(frozen=True)
class PlannedSteps:
    """The steps of a plan; a subclass adds to `fill` what happens around a step."""

    plan: StackPlan

    @property
    def steps(self) -> int:
        return self.plan.steps

    @property
    def steps_of(self) -> IntArray:
        return self.plan.steps_of

    @property
    def seed(self) -> int:
        return self.plan.seed

    def start(self, into: StepArrays) -> None:
        self.plan.start(into)

    def fill(self, step: int, into: StepArrays) -> None:
        self.plan.fill(step, into)


def plan_batches(
    private: PrivateStack,
    devices: KeyArray,
    task: RoundTask,
    *,
    manifest: StudentManifest,
    public_x: FloatArray | None = None,
    shuffle: bool = True,
) -> StackPlan:
    """The steps of `task` for the stack of `devices` [C] on the training artifact of `manifest`.

    shuffle: draw a new order each epoch; otherwise rows come as they are stored.
    """
    check_artifact(manifest, task, devices=private.devices, input_shape=private.input_shape)
    return _plan(private, devices, task, manifest, public_x, shuffle)


def plan_stacks(
    private: PrivateStack,
    devices: KeyArray,
    task: RoundTask,
    *,
    manifest: StudentManifest,
    public_x: FloatArray | None = None,
    shuffle: bool = True,
) -> list[StackPlan]:
    """The plans of several stacks that stand one after another in `private`.

    To plan for many devices costs hardly more than for one. The last stack must be full, too: repeat a device
    in its empty places.
    """
    size = manifest.stack_size
    last = private.devices % size or size
    check_artifact(manifest, task, devices=last, input_shape=private.input_shape)
    plan = _plan(private, devices, task, manifest, public_x, shuffle)
    return [plan.part(slice(start, start + size)) for start in range(0, private.devices, size)]


def _plan(
    private: PrivateStack,
    devices: KeyArray,
    task: RoundTask,
    manifest: StudentManifest,
    public_x: FloatArray | None,
    shuffle: bool,
) -> StackPlan:
    training, targets = task.training, soft_targets_of(task)
    check_labels(private, targets, manifest)
    walked = len(targets.public_rows) if isinstance(targets, PublicSoftLabels) else 0
    steps_of = steps_of_devices(private.counts, training, public_examples=walked)
    active = np.arange(steps_of.max(initial=0))[:, None] < steps_of  # [S, C]
    hard = private_steps(private, devices, training, round=task.round, steps=len(active), shuffle=shuffle)
    hard_weight, soft, public = hard.weight, None, None
    if isinstance(targets, ClassSoftLabels):
        hard_weight, soft = class_mean_steps(
            targets, hard, soft_weight=training.soft_weight, classes=manifest.classes
        )
    elif isinstance(targets, PublicSoftLabels):
        public = public_examples(public_x, targets.public_rows, mixed=task.mixed_rows)
        hard_weight = hard.weight * np.float32(1 - training.soft_weight)
        soft = public_steps(targets, devices, training, round=task.round, active=active, shuffle=shuffle)
    return StackPlan(
        table=private.table,
        public_x=public,
        steps_of=steps_of,
        private_steps=hard,
        hard_weight=hard_weight,
        soft_steps=soft,
        soft_labels=None if targets is None else fitting_soft_labels(targets.soft_labels, manifest),
        learning_rate=active * np.float32(training.learning_rate),
        temperature=training.temperature,
        keys=uniform_keys(training.seed, devices, round=task.round),
        seed=training.seed ^ task.round,
    )


def soft_targets_of(task: RoundTask) -> SoftTargets | None:
    """The soft targets that the loss reads: none when their weight is 0 or there are no rows of them."""
    targets = task.soft_targets
    if task.training.soft_weight == 0 or targets is None or targets.soft_labels.rows == 0:
        return None
    return targets


def check_artifact(
    manifest: StudentManifest, task: RoundTask, *, devices: int, input_shape: tuple[int, ...]
) -> None:
    """Refuse a task, or data, that the artifact of `manifest` was not built for."""
    targets = soft_targets_of(task)
    rows = task.training.batch_size * (2 if isinstance(targets, PublicSoftLabels) else 1)
    expectations = {
        "family": (task.family, manifest.family),
        "optimizer": (task.training.optimizer.value, manifest.optimizer.value),
        "input shape": (input_shape, manifest.input_shape),
        "devices in a stack": (devices, manifest.stack_size),
    }
    for what, (asked, built) in expectations.items():
        if asked != built:
            raise ArtifactMismatch(
                f"the round has {what} {asked}, the training artifact is for {built}; rebuild it."
            )
    if rows > manifest.step_rows:
        raise ArtifactMismatch(
            f"a step of batch_size {task.training.batch_size} takes {rows} rows, the training artifact has "
            f"{manifest.step_rows}; rebuild it with step_rows={rows} or lower batch_size."
        )
    if targets is not None:
        fitting_soft_labels(targets.soft_labels, manifest)


def check_labels(private: PrivateStack, targets: SoftTargets | None, manifest: StudentManifest) -> None:
    """Refuse labels, private or soft, that are not for as many places as the student answers at."""
    shape = private.labels.shape[2:]
    if shape != manifest.label_shape:
        raise ArtifactMismatch(
            f"private labels are of shape {shape} an example, the student {manifest.family!r} answers in "
            f"{manifest.label_shape}."
        )
    if targets is not None:
        check_places(targets, manifest)


def check_places(targets: SoftTargets, manifest: StudentManifest) -> None:
    """Refuse soft targets that are not for as many places as the student answers at."""
    places = math.prod(manifest.label_shape)
    if isinstance(targets, ClassSoftLabels) and manifest.label_shape:
        raise ArtifactMismatch("class means are soft labels of classifiers, the student is one of text.")
    if isinstance(targets, PublicSoftLabels) and targets.soft_labels.rows != places * len(
        targets.public_rows
    ):
        raise ArtifactMismatch(
            f"{targets.soft_labels.rows} soft labels of {len(targets.public_rows)} public examples; the "
            f"student {manifest.family!r} takes {places} of each."
        )


def public_examples(public_x: FloatArray | None, rows: IntArray, *, mixed: int = 0) -> FloatArray:
    """The rows that a task names: of the device's public set, and of so many that are mixed of its rows."""
    if public_x is None:
        raise FedstillError("the round is about public examples and this device has none: add public.npz.")
    if rows.size and rows.max() >= len(public_x) + mixed:
        raise FedstillError(
            f"the round names public row {rows.max()}, this device's public set has {len(public_x)} rows"
            f"{f' and {mixed} mixed ones' if mixed else ''}; give it the public set that the server has."
        )
    if mixed and public_x.dtype.kind != "f":
        raise ArtifactMismatch("the round asks for mixed public rows, and numbers of words cannot be mixed.")
    return rows_with_mixed(public_x, rows)


def fitting_soft_labels(soft_labels: SoftLabels, manifest: StudentManifest) -> SoftLabels:
    """The soft labels as the artifact reads them."""
    if soft_labels.classes != manifest.classes:
        raise ArtifactMismatch(
            f"soft labels of {soft_labels.classes} classes; the student has {manifest.classes}."
        )
    if isinstance(soft_labels, GaussianSoftLabels) != manifest.target.is_regression:
        raise ArtifactMismatch(
            f"the round brings {type(soft_labels).__name__}, the student says {manifest.target.kind.value}."
        )
    if manifest.soft_labels == "dense":
        return (
            DenseSoftLabels(soft_labels.dense()) if isinstance(soft_labels, TopKSoftLabels) else soft_labels
        )
    if manifest.soft_labels == "none":
        raise ArtifactMismatch(
            "the round brings soft labels, the training artifact reads none; rebuild it with them."
        )
    if not isinstance(soft_labels, TopKSoftLabels) or soft_labels.indices.shape[1] != manifest.k:
        have = f"top-{soft_labels.indices.shape[1]}" if isinstance(soft_labels, TopKSoftLabels) else "dense"
        raise ArtifactMismatch(
            f"the round brings {have} soft labels, the training artifact reads top-{manifest.k}."
        )
    return soft_labels


def _at_places(weight: FloatArray, labels: npt.NDArray[Any]) -> FloatArray:
    """The weights of rows [C, B] as those of labels: a row of text spreads its own evenly over its places."""
    if labels.ndim == 2:
        return weight
    places = labels.shape[2:]
    spread = np.divide(weight, np.float32(math.prod(places)))
    return np.broadcast_to(spread.reshape(*weight.shape, *(1 for _ in places)), (*weight.shape, *places))


def _by_example(table: npt.NDArray[np.generic], places: tuple[int, ...]) -> npt.NDArray[np.generic]:
    """A table [n * places, k] with a row for each place as one with a row for each example."""
    return table.reshape(-1, *places, table.shape[-1]) if places else table


def _gather(table: npt.NDArray[np.generic], rows: IntArray, out: npt.NDArray[np.generic]) -> None:
    """out[...] = table[rows]; without a copy in between where `out` is contiguous."""
    if out.flags.c_contiguous:
        # Any mode but "clip" and "wrap" makes numpy fill a buffer of its own first.
        np.take(table, rows, axis=0, out=out, mode="clip")
    else:
        out[...] = np.take(table, rows, axis=0)
