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
from dataclasses import dataclass, replace

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray, Parameters
from fedstill_proto.messages import RoundTask

from fedstill_client.model.batches import ArtifactMismatch, StackPlan, plan_batches
from fedstill_client.model.order import uniform
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.model.step import StepArrays
from fedstill_client.model.trainer import Trainer


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
    manifest, start = trainer.manifest, task.start
    if start.input_noise > 0 and np.dtype(manifest.input_type).kind != "f":
        raise ArtifactMismatch(
            f"the round's start asks for noise on inputs, and the student {manifest.family!r} reads numbers "
            "of words; ask for input_noise 0."
        )
    training = replace(task.training, epochs=start.epochs, learning_rate=start.learning_rate, soft_weight=1.0)
    nobody = PrivateStack(
        np.zeros((manifest.stack_size, 1, *manifest.input_shape), manifest.input_type),
        np.zeros((manifest.stack_size, 1, *manifest.label_shape), np.int64),
        np.zeros(manifest.stack_size, np.int64),
    )
    plan = plan_batches(
        nobody,
        np.zeros(manifest.stack_size, np.uint64),
        replace(task, training=training),
        manifest=manifest,
        public_x=public_x,
    )
    trained, _ = trainer.train(student, StartSteps(plan, start.input_noise, before_step))
    return trained


@dataclass(frozen=True)
class StartSteps:
    """The steps of a plan over public rows alone, with noise on the rows: the same for all devices."""

    plan: StackPlan
    input_noise: float  # standard deviation, in units of x
    before_step: Callable[[], None]

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
        self.before_step()
        self.plan.fill(step, into)
        if self.input_noise > 0 and self.plan.soft_steps is not None:
            first = self.plan.soft_steps.first_row
            rows = into.x[:, first : first + self.plan.soft_steps.labels.shape[2]]
            rows += _noise(rows.shape[1:], seed=self.plan.seed, step=step, deviation=self.input_noise)


def _noise(shape: tuple[int, ...], *, seed: int, step: int, deviation: float) -> FloatArray:
    """Uniform noise of this standard deviation, from whole numbers: the same on any processor."""
    half_width = np.sqrt(3.0) * deviation
    drawn = uniform(int(np.prod(shape)), seed=seed, step=step)  # [0, 1)
    noise: FloatArray = (half_width * (2 * drawn - 1)).astype(np.float32).reshape(shape)
    return noise
