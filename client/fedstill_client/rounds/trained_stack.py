"""A stack of devices whose students have been trained: all that their answers are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray

from fedstill_client.model.batches import public_examples
from fedstill_client.model.forward import ForwardPass
from fedstill_client.model.last_result import LastResult
from fedstill_client.model.private_stack import PrivateStack

_PUBLIC_ROWS: LastResult[FloatArray] = LastResult()
_START_LOGITS: LastResult[FloatArray] = LastResult()


@dataclass(frozen=True, eq=False)
class TrainedStack:
    """C devices after their training.

    Attributes:
        parameters: The trained students [C, *shape].
        private: The devices' private examples.
        forward: The forward graph of the students.
        public_x: The public set [P, *shape]; None where the devices have none.
        start: The students before training, [C, *shape] or [*shape] for all devices; what moved is measured
            against them.
        control_variates: How far the devices' own moved [C, *shape]; empty where a task has none.
        mixed_rows: How many rows the task lets be mixed of the public set's.
    """

    parameters: Mapping[str, FloatArray]
    private: PrivateStack
    forward: ForwardPass
    public_x: FloatArray | None = None
    start: Mapping[str, FloatArray] | None = None
    control_variates: Mapping[str, FloatArray] = field(default_factory=dict)
    mixed_rows: int = 0

    @property
    def started(self) -> Mapping[str, FloatArray]:
        """The students before training, which a round always has."""
        assert self.start is not None
        return self.start

    def public_rows(self, rows: IntArray) -> FloatArray:
        """These rows of the public set; raises FedstillError where it has not all of them."""
        return _PUBLIC_ROWS.of(
            (self.public_x, rows, self.mixed_rows),
            lambda: public_examples(self.public_x, rows, mixed=self.mixed_rows),
        )

    def start_logits(self, x: FloatArray) -> FloatArray:
        """Logits [C, n, K] of the students before training, on the same examples x [n, *shape].

        Of one start for all devices, stack after stack, they are computed once.
        """
        start = self.started
        if all(start[spec.name].shape == spec.shape for spec in self.forward.manifest.parameters):
            return _START_LOGITS.of((self.forward, start, x), lambda: self._start_logits(start, x))
        return self._start_logits(start, x)

    def _start_logits(self, start: Mapping[str, FloatArray], x: FloatArray) -> FloatArray:
        manifest = self.forward.manifest
        stacked = {
            spec.name: np.ascontiguousarray(
                np.broadcast_to(start[spec.name], (manifest.stack_size, *spec.shape))
            )
            for spec in manifest.parameters
        }
        return self.forward.shared(stacked, x)
