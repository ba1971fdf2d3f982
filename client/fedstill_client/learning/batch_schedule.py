"""The batches of a learning, epoch after epoch without an end; a step's batch depends on its number alone."""

from __future__ import annotations

from dataclasses import replace

from fedstill_proto.arrays import FloatArray
from fedstill_proto.messages import RoundTask
from fedstill_proto.package.artifact import StudentManifest

from fedstill_client.model.batches import StackPlan, plan_batches
from fedstill_client.model.order import device_ids
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.model.step import StepArrays

_OWN_ORDER = device_ids(["own examples"])


class BatchSchedule:
    """The training steps of one device on its `private` examples, counted from 0 over all epochs.

    It is the `StepSource` of a learning: the epoch that a step falls into is planned when it begins.

    Args:
        private: The device's examples, a stack of one.
        task: How to train for one epoch.
        manifest: The manifest of the training artifact.
        public_x: The public set [P, *shape], where the task has soft labels of it.
    """

    def __init__(
        self,
        private: PrivateStack,
        task: RoundTask,
        *,
        manifest: StudentManifest,
        public_x: FloatArray | None,
    ) -> None:
        self._private, self._task, self._manifest, self._public_x = private, task, manifest, public_x
        self._epoch, self._plan = 0, self._plan_of(0)

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one pass over the private examples."""
        return self._plan.steps

    @property
    def seed(self) -> int:
        """The seed of the words that a step of text draws, in the epoch of the last step."""
        return self._plan.seed

    def epoch_of(self, step: int) -> int:
        """The epoch that a step is in, from 0 on."""
        return step // self.steps_per_epoch

    def steps_left(self, step: int) -> int:
        """Steps from `step` to the end of its epoch."""
        return self.steps_per_epoch - step % self.steps_per_epoch

    def start(self, into: StepArrays) -> None:
        """Set what all steps share."""
        self._plan.start(into)

    def fill(self, step: int, into: StepArrays) -> None:
        """Write one step's rows."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._plan = epoch, self._plan_of(epoch)
        self._plan.fill(place, into)

    def _plan_of(self, epoch: int) -> StackPlan:
        return plan_batches(
            self._private,
            _OWN_ORDER,
            replace(self._task, round=epoch + 1),
            manifest=self._manifest,
            public_x=self._public_x,
        )
