"""What every engine is given: users, their examples in stored order, a starting student and a plan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import FloatArray, Parameters
from fedstill_proto.messages import Optimizer, TrainingPlan
from fedstill_server.data.digits import CLASSES, digits_examples
from fedstill_sim.data.fleet import DeviceRows, FleetData
from fedstill_sim.data.pools import FEWEST_EXAMPLES, MOST_EXAMPLES
from fedstill_sim.data.splits import resampled_split

FAMILIES = {"mlp": "mlp-small", "cnn": "cnn"}
BATCH_SIZE = 16
LEARNING_RATE = 0.1


@dataclass(frozen=True)
class Workload:
    """A FedAvg run: in a round all users train from the global student, and their mean is the next one.

    model: "mlp" is 64-64-10 with ReLU; "cnn" is conv3x3(1->8) ReLU maxpool2, conv3x3(8->16) ReLU maxpool2,
    linear 64-10.
    """

    model: str
    users: int
    rounds: int  # measured; one more comes first
    seed: int = 0
    processes: int | None = None  # of the cohort engine; None is one a core
    threads: int = 1  # of torch in the loop engine
    device: str = "cpu"  # of the cohort engine: "cpu" or "cuda"

    @property
    def family(self) -> str:
        return FAMILIES[self.model]

    def plan(self) -> TrainingPlan:
        """One epoch of batches of 16, plain SGD, cross-entropy."""
        return TrainingPlan(
            epochs=1,
            batch_size=BATCH_SIZE,
            learning_rate=LEARNING_RATE,
            optimizer=Optimizer.SGD,
            temperature=1.0,
            soft_weight=0.0,
            seed=self.seed,
        )

    def data(self) -> FleetData:
        """Users of 32 to 64 digits each, drawn with replacement."""
        x, y = digits_examples()
        generator = np.random.default_rng(self.seed)
        counts = generator.integers(FEWEST_EXAMPLES, MOST_EXAMPLES, self.users, endpoint=True)
        even = np.full((self.users, CLASSES), 1 / CLASSES, np.float32)
        rows = resampled_split(y, mixtures=even, counts=counts, seed=self.seed)
        return FleetData(
            name="digits",
            description=f"{self.users} users with 32 to 64 digits each, drawn with replacement",
            classes=CLASSES,
            device_names=tuple(f"user-{user}" for user in range(self.users)),
            families=(self.family,) * self.users,
            x=x,
            y=y,
            train=DeviceRows.of(rows),
            test=DeviceRows.of([part[:0] for part in rows]),
            public_x=x[:0],
            public_y=None,
            global_x=x[:0],
            global_y=y[:0],
        )

    def student(self) -> Parameters:
        """The global student before the first round."""
        from fedstill_server.families import initial_parameters  # imports torch

        return initial_parameters(self.family, (8, 8), CLASSES, self.seed)


def flat(student: Parameters) -> FloatArray:
    """All weights in one row, to compare engines by."""
    return np.concatenate([array.ravel() for array in student.values()])
