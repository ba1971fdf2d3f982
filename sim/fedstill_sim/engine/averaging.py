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

from fedstill_sim.data.fleet import FleetDataError
from fedstill_sim.engine.open_run import OpenFamily, open_shard
from fedstill_sim.engine.shards import TaskShard
from fedstill_sim.engine.stacks import padded
from fedstill_sim.engine.students import named_parameters
from fedstill_sim.engine.worker import stack_starts


@dataclass(frozen=True)
class WeightedSum:
    """Students times their examples, added up: total float64 [width]."""

    total: npt.NDArray[np.float64]
    examples: int

    @classmethod
    def zero(cls, width: int) -> WeightedSum:
        """Return the sum over no device."""
        return cls(np.zeros(width), 0)

    def __add__(self, other: WeightedSum) -> WeightedSum:
        return WeightedSum(self.total + other.total, self.examples + other.examples)

    def result(self, manifest: StudentManifest) -> Parameters:
        """Return the average student [*shape] by parameter name.

        Raises:
            FleetDataError: No device has an example.
        """
        if self.examples == 0:
            raise FleetDataError("average: no device has an example; there is nothing to average")
        average = (self.total / self.examples).astype(np.float32)
        return {name: array[0] for name, array in named_parameters(average[None], manifest).items()}


def train_and_sum(shard: TaskShard, *, shuffle: bool = True) -> WeightedSum:
    """Train every device of the shard from the task's student, and add the students up."""
    run, task = open_shard(shard)
    family = run.family(task.family, shard.stack_size)
    stacks = -(-len(shard.devices) // shard.stack_size)
    devices = padded(shard.devices, stacks * shard.stack_size)
    plans = plan_stacks(
        run.stacks.private(devices),
        run.stacks.ids(devices),
        task,
        manifest=family.manifest,
        public_x=run.public_x,
        shuffle=shuffle,
    )
    weights = run.stacks.train_counts(devices).astype(np.float32)
    weights[len(shard.devices) :] = 0  # repeated devices count once
    total = np.zeros(family.manifest.parameter_count)
    for start, plan in zip(stack_starts(shard), plans, strict=True):
        total += _stack_sum(family, task, plan, weights[start : start + shard.stack_size])
    return WeightedSum(total, int(weights.sum(dtype=np.float64)))


def _stack_sum(family: OpenFamily, task: RoundTask, plan: StackPlan, weights: FloatArray) -> FloatArray:
    """The weighted sum [width] of a stack's students after training."""
    trained, _ = family.personalizer.train(task.parameters, plan, copy=False)
    return np.concatenate([weights @ array.reshape(len(weights), -1) for array in trained.values()])
