"""What a device's learning came to."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Result(enum.Enum):
    """How a learning ended."""

    REPLACED = "replaced"  # the new student answers from now on
    KEPT = "kept"  # the new student was no better
    INTERRUPTED = "interrupted"  # the next learning goes on from here
    NOTHING = "nothing"  # there was nothing to learn from


@dataclass(frozen=True)
class Judgement:
    """How well a student does on some of the device's own examples."""

    loss: float  # mean cross-entropy in nats
    correct: int
    answers: int  # one for each example, or for each place of a text

    @property
    def accuracy(self) -> float:
        return self.correct / max(self.answers, 1)

    def is_better_than(self, other: Judgement) -> bool:
        """A lower loss, and no fewer right answers."""
        return self.loss < other.loss and self.correct >= other.correct

    def __str__(self) -> str:
        return f"loss {self.loss:.4f}, {self.correct} of {self.answers} right"


@dataclass(frozen=True)
class LearningProgress:
    """Where a learning stands, for whoever watches it."""

    step: int
    epoch: int
    training_loss: float  # mean of the steps since the last report
    best: Judgement | None  # so far; none while no check was better than the student from before
    seconds: float


@dataclass(frozen=True)
class LearningOutcome:
    """What a learning came to; over all sittings, where it was interrupted."""

    result: Result
    words: str  # what happened, and why
    before: Judgement | None = None
    after: Judgement | None = None  # of the best new student
    judged_on: str = ""  # "held-out examples", or "all examples" where too few are held out
    steps: int = 0
    epochs: int = 0
    seconds: float = 0.0
    joules: float | None = None  # None where it is not measured
    soft_labels: str = "none"  # "fleet", "installed" (the student's own from before) or "none"
    soft_examples: int = 0  # with soft labels
    resumed: bool = False  # went on from an earlier sitting
