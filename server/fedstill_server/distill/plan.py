"""How a student is trained: frozen, validated values."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fedstill_server.distill.errors import DistillError


def check(holds: bool, name: str, value: object, needed: str) -> None:
    """Raises DistillError, naming the field, where its value cannot be."""
    if not holds:
        raise DistillError(f"{name}: {value!r} is not {needed}")


@dataclass(frozen=True, kw_only=True)
class DistillPlan:
    """AdamW over shuffled batches, its rate falling to 0 along half a cosine.

    The loss of a batch is (1 - soft_weight) times the labels' cross-entropy over its labelled examples, plus
    soft_weight times the sum of the techniques' terms. `online` asks the teacher about each batch as the
    student sees it (with its noise), instead of once about each example before the first step.
    """

    epochs: int = 60
    batch_size: int = 64
    learning_rate: float = 1e-2
    weight_decay: float = 0.01
    temperature: float = 4.0
    soft_weight: float = 0.9
    input_noise: float = 0.0  # standard deviation, in units of the input
    online: bool = False
    checkpoint_epochs: int = 10  # between checkpoints
    seed: int = 0

    def __post_init__(self) -> None:
        check(self.epochs >= 1, "epochs", self.epochs, "1 or more")
        check(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more")
        check(0 < self.learning_rate < math.inf, "learning_rate", self.learning_rate, "a rate above 0")
        check(0 <= self.weight_decay < math.inf, "weight_decay", self.weight_decay, "0 or more")
        check(0 < self.temperature < math.inf, "temperature", self.temperature, "a number above 0")
        check(0 <= self.soft_weight <= 1, "soft_weight", self.soft_weight, "a share from 0 to 1")
        check(0 <= self.input_noise < math.inf, "input_noise", self.input_noise, "0 or more")
        check(self.checkpoint_epochs >= 1, "checkpoint_epochs", self.checkpoint_epochs, "1 or more")
        check(0 <= self.seed < 1 << 63, "seed", self.seed, "a whole number from 0")
