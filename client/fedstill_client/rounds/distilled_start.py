"""The student that a round starts from, made on the device: distilled from the round's soft labels.

Weights from a server can be made to keep what they are trained on: a unit that one private example alone
moves gives that example away (Boenisch et al. 2023, "When the curious abandon honesty", arXiv 2112.02918). So
a device trains only what came in its signed package, or is its own. What the fleet has learned comes as soft
labels q of public rows x, and the start s is the device's student after some epochs of

    T^2 KL(q || softmax(z(x + noise) / T))

(Hinton et al. 2015, arXiv 1503.02531). The noise stands in for more public rows. No private example has a
part in it: from the student of the package, all devices of a family make the same start, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray, Parameters
from fedstill_proto.messages import PublicSoftLabels, RoundTask
from fedstill_proto.package.artifact import StudentManifest

from fedstill_client.model.batches import (
    ArtifactMismatch,
    PlannedSteps,
    StackPlan,
    check_places,
    fitting_soft_labels,
    public_examples,
)
from fedstill_client.model.order import epoch_order, uniform, uniform_keys
from fedstill_client.model.schedule import PrivateSteps, SoftSteps
from fedstill_client.model.step import StepArrays
from fedstill_client.model.trainer import Trainer

# The start's own orders and noise, and not those of the training that follows.
_SEED = 0x7374617274
_ALL_DEVICES = np.zeros(1, np.uint64)


def distilled_start(
    student: Mapping[str, FloatArray],
    task: RoundTask,
    trainer: Trainer,
    public_x: FloatArray | None,
    *,
    before_step: Callable[[], None] = lambda: None,
) -> Parameters:
    """Students [C, *shape] that have learned the soft labels of `task`, as its start plan says.

    Args:
        student: What they are before: [C, *shape], or [*shape] for all.
        task: The round's task.
        trainer: The training step of their family.
        public_x: The public set [P, *shape], where the devices have one.
        before_step: Called before each step; may raise to end it.
    """
    assert task.start is not None  # or there would be no start to make
    plan = plan_start(task, trainer.manifest, public_x)
    trained, _ = trainer.train(student, StartSteps(plan, task.start.input_noise, before_step))
    return trained


def plan_start(task: RoundTask, manifest: StudentManifest, public_x: FloatArray | None) -> StackPlan:
    """The steps in which a stack learns the task's soft labels: all rows of a step are public ones.

    Each epoch has an order of its own, which is that of all devices. The learning rate falls evenly to 0.
    """
    start, targets = task.start, task.soft_targets
    assert start is not None
    assert isinstance(targets, PublicSoftLabels)  # a plan with epochs has such
    if start.input_noise > 0 and np.dtype(manifest.input_type).kind != "f":
        raise ArtifactMismatch(
            f"the round's start asks for noise on inputs, and the student {manifest.family!r} reads numbers "
            "of words; ask for input_noise 0."
        )
    check_places(targets, manifest)
    rows, width = len(targets.public_rows), manifest.step_rows
    batches, devices = -(-rows // width), manifest.stack_size
    steps = start.epochs * batches
    labels = np.zeros((start.epochs, batches * width), np.int64)
    for epoch in range(start.epochs):
        labels[epoch, :rows] = epoch_order(
            task.training.seed ^ _SEED,
            _ALL_DEVICES,
            round=task.round,
            epoch=epoch,
            counts=np.array([rows]),
            capacity=rows,
        )[0]
    here = (np.arange(batches * width) < rows).reshape(batches, width)
    weight = (here / np.maximum(here.sum(axis=1, keepdims=True), 1)).astype(np.float32)
    falling = start.learning_rate * (1 - np.arange(steps) / max(steps, 1))
    everyone = (steps, devices, width)
    none = np.zeros((steps, devices, 0), np.int64)
    no_weight = none.astype(np.float32)
    return StackPlan(
        table=np.zeros((1, *manifest.input_shape), manifest.input_type),
        public_x=public_examples(public_x, targets.public_rows, mixed=task.mixed_rows),
        steps_of=np.full(devices, steps),
        private_steps=PrivateSteps(
            none, np.zeros((*none.shape, *manifest.label_shape), manifest.target.label_type), no_weight
        ),
        hard_weight=no_weight,
        soft_steps=SoftSteps(
            first_row=0,
            labels=np.broadcast_to(labels.reshape(steps, 1, width), everyone),
            weight=np.broadcast_to(np.tile(weight, (start.epochs, 1))[:, None], everyone),
        ),
        soft_labels=fitting_soft_labels(targets.soft_labels, manifest),
        learning_rate=np.broadcast_to(falling.astype(np.float32)[:, None], (steps, devices)),
        temperature=task.training.temperature,
        keys=np.repeat(uniform_keys(task.training.seed ^ _SEED, _ALL_DEVICES, round=task.round), devices),
        seed=task.training.seed ^ task.round,
    )


@dataclass(frozen=True)
class StartSteps(PlannedSteps):
    """The steps of a start, with noise on the public rows: the same for all devices."""

    input_noise: float  # standard deviation, in units of x
    before_step: Callable[[], None]

    def rows(self, step: int) -> IntArray:
        """The task's soft labels [b] that a step takes, by their places."""
        soft = self.plan.soft_steps
        assert soft is not None  # a start has no other steps
        rows: IntArray = soft.labels[step, 0][soft.weight[step, 0] > 0]
        return rows

    def fill(self, step: int, into: StepArrays) -> None:
        self.before_step()
        super().fill(step, into)
        if self.input_noise > 0:
            self._add_noise(step, into)

    def _add_noise(self, step: int, into: StepArrays) -> None:
        """Add noise to examples; those that go through a prefix do so with it, each time."""
        seed, deviation = self.plan.seed, self.input_noise
        if into.prefix is None:
            into.x[...] += _noise(into.x.shape[1:], seed=seed, step=step, deviation=deviation)
            return
        soft = self.plan.soft_steps
        assert soft is not None  # a start has no other steps
        assert self.plan.public_x is not None
        x = self.plan.public_x[soft.labels[step, 0]]
        into.x[...] = into.prefix.fresh(x + _noise(x.shape, seed=seed, step=step, deviation=deviation))


def _noise(shape: tuple[int, ...], *, seed: int, step: int, deviation: float) -> FloatArray:
    """Uniform noise of this standard deviation, from whole numbers: the same on any processor."""
    half_width = np.sqrt(3.0) * deviation
    drawn = uniform(int(np.prod(shape)), seed=seed ^ _SEED, step=step)  # [0, 1)
    noise: FloatArray = (half_width * (2 * drawn - 1)).astype(np.float32).reshape(shape)
    return noise
