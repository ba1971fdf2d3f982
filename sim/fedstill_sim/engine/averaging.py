"""Federated averaging where the work is done: a worker adds its devices' students up, and only sums travel.

FedAvg (McMahan et al. 2017, arXiv 1602.05629): the new student is sum_d(n_d * student_d) / sum_d(n_d) for
devices d with n_d examples. Sums are a monoid: any tree of workers gives the same average, to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from fedstill_client.model.batches import StackPlan, plan_stacks
from fedstill_proto.arrays import FloatArray, Parameters
from fedstill_proto.messages import RoundTask
from fedstill_proto.package.artifact import StudentManifest

from fedstill_sim.data.fleet import DataError
from fedstill_sim.engine.jobs import Job
from fedstill_sim.engine.stacks import filled_up
from fedstill_sim.engine.students import named_parameters
from fedstill_sim.engine.worker import stack_starts
from fedstill_sim.engine.workplace import FamilyWork, opened


@dataclass(frozen=True)
class WeightedSum:
    """Students times their examples, added up: total float64 [width]."""

    total: npt.NDArray[np.float64]
    examples: int

    @classmethod
    def zero(cls, width: int) -> WeightedSum:
        """Of no device."""
        return cls(np.zeros(width), 0)

    def __add__(self, other: WeightedSum) -> WeightedSum:
        return WeightedSum(self.total + other.total, self.examples + other.examples)

    def result(self, manifest: StudentManifest) -> Parameters:
        """The average student [*shape]."""
        if self.examples == 0:
            raise DataError("average: no device has an example; there is nothing to average")
        average = (self.total / self.examples).astype(np.float32)
        return {name: array[0] for name, array in named_parameters(average[None], manifest).items()}


def train_and_sum(job: Job, *, shuffle: bool = True) -> WeightedSum:
    """Train every device of the job from the task's student, and add the students up."""
    place, task = opened(job)
    work = place.work(task.family, job.stack_size)
    stacks = -(-len(job.devices) // job.stack_size)
    devices = filled_up(job.devices, stacks * job.stack_size)
    plans = plan_stacks(
        place.stacks.private(devices),
        place.stacks.ids(devices),
        task,
        manifest=work.manifest,
        public_x=place.public_x,
        shuffle=shuffle,
    )
    weights = place.stacks.train_counts(devices).astype(np.float32)
    weights[len(job.devices) :] = 0  # repeated devices count once
    total = np.zeros(work.manifest.parameter_count)
    for start, plan in zip(stack_starts(job), plans, strict=True):
        total += _stack_sum(work, task, plan, weights[start : start + job.stack_size])
    return WeightedSum(total, int(weights.sum(dtype=np.float64)))


def _stack_sum(work: FamilyWork, task: RoundTask, plan: StackPlan, weights: FloatArray) -> FloatArray:
    """The weighted sum [width] of a stack's students after training."""
    trained, _ = work.personalizer.train(task.parameters, plan, copy=False)
    return np.concatenate([weights @ array.reshape(len(weights), -1) for array in trained.values()])
