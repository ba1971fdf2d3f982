"""The batches of a learning, epoch after epoch without an end; a step's batch depends on its number alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from fedstill_proto.arrays import FloatArray
from fedstill_proto.messages import RoundTask

from fedstill_client.model.batches import StackPlan, plan_batches
from fedstill_client.model.forward import Forward
from fedstill_client.model.order import device_ids
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.model.trainer import Personalizer

_OWN_ORDER = device_ids(["own examples"])


class BatchSchedule:
    """Steps of one device with `private` examples; `task` trains for one epoch."""

    def __init__(
        self, private: PrivateStack, task: RoundTask, forward: Forward, public_x: FloatArray | None
    ) -> None:
        self._private, self._task, self._public_x = private, task, public_x
        self._manifest = forward.manifest
        self._planned, self._plan = 0, self._plan_of(0)

    @property
    def steps_an_epoch(self) -> int:
        return self._plan.steps

    def epoch(self, step: int) -> int:
        """The epoch that a step is in."""
        return step // self.steps_an_epoch

    def walk(self, personalizer: Personalizer, step: int, steps: int) -> tuple[int, float]:
        """Take `steps` from `step` on, though none beyond its epoch.

        Returns how many were taken, and the sum of their losses.
        """
        epoch, first = divmod(step, self.steps_an_epoch)
        if epoch != self._planned:
            self._planned, self._plan = epoch, self._plan_of(epoch)
        last = min(first + steps, self.steps_an_epoch)
        return last - first, float(np.sum(personalizer.take(self._plan, first, last)))

    def _plan_of(self, epoch: int) -> StackPlan:
        return plan_batches(
            self._private,
            _OWN_ORDER,
            replace(self._task, round=epoch + 1),
            manifest=self._manifest,
            public_x=self._public_x,
        )
