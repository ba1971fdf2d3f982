"""What an agent is asked and what it answers, in its own process and through its socket alike.

Light to import: an app that only talks to the agent loads no ONNX Runtime.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from fedstill_proto.errors import FedstillError, InvalidValue


class AgentError(FedstillError):
    """An agent that cannot do what it is asked."""


class AgentRefused(AgentError):
    """What was sent is not what this agent takes; the text names the field."""


class AgentBusy(AgentError):
    """The agent does the same thing already; ask again later."""


class AgentUnavailable(AgentError):
    """No agent answers at a socket."""


@dataclass(frozen=True)
class PersonalizeOptions:
    """How to learn this time; what is None is the device's own choice."""

    epochs: int | None = None  # at most
    batch_size: int | None = None
    learning_rate: float | None = None
    temperature: float | None = None
    soft_weight: float | None = None
    seed: int | None = None
    max_seconds: float | None = None
    max_steps: int | None = None

    def __post_init__(self) -> None:
        for name in ("learning_rate", "temperature", "max_seconds"):
            self._check(name, above=0.0, most=1e9)
        for name in ("epochs", "batch_size", "max_steps"):
            self._check(name, above=0, most=1 << 31)
        self._check("soft_weight", above=-1e-12, most=1.0)
        self._check("seed", above=-1, most=1 << 63)

    def _check(self, name: str, *, above: float, most: float) -> None:
        value = getattr(self, name)
        if value is not None and not (math.isfinite(value) and above < value <= most):
            least = "0 or more" if above < 0 else "more than 0"
            raise InvalidValue(name, f"{value}; give {least}, and {most:g} at most")


@dataclass(frozen=True)
class Judgement:
    """How well a student does on some of the device's own examples."""

    loss: float  # mean cross-entropy in nats
    correct: int
    answers: int

    @property
    def accuracy(self) -> float:
        return self.correct / max(self.answers, 1)


@dataclass(frozen=True)
class LearningProgress:
    """Where a learning stands."""

    steps: int
    epoch: int
    epochs: int  # at most
    training_loss: float
    seconds: float
    best: Judgement | None = None  # none while nothing was better than the student from before


@dataclass(frozen=True)
class LearningResult:
    """What a learning came to; over all sittings, where it was interrupted."""

    result: str  # "replaced", "kept", "interrupted" or "nothing"
    words: str  # what happened, and why
    before: Judgement | None = None
    after: Judgement | None = None  # of the best new student
    judged_on: str = ""
    steps: int = 0
    epochs: int = 0
    seconds: float = 0.0
    joules: float | None = None  # none where it is not measured
    soft_labels: str = "none"  # what kept it from forgetting
    soft_examples: int = 0
    resumed: bool = False


@dataclass(frozen=True)
class AgentStatus:
    """What an agent has and does."""

    device: str
    family: str
    package_version: int
    parameters: int
    input_type: str
    input_shape: tuple[int, ...]
    label_shape: tuple[int, ...]
    classes: int
    training_examples: int
    held_out_examples: int
    stored_bytes: int
    student_run: str  # "" while the package's own student answers
    student_round: int
    personalizing: bool
    releases: int  # what left the device, by its ledger
    released_bytes: int
    agent_version: str
    precision: str  # of the weights that answer: float32, or int8 where the package has them
    # The privacy budget: epsilons at delta; a budget of 0 is none. Releases without noise have no bound.
    epsilon_spent: float = 0.0
    epsilon_budget: float = 0.0
    delta: float = 1e-5
    releases_without_noise: int = 0
    privacy_refusal: str = ""  # the last round that the device's own policy did not allow, and why


@dataclass(frozen=True)
class Forgotten:
    """What was removed."""

    examples: int
    students: int
    learning: bool  # whether learning that had not ended was dropped


@dataclass(frozen=True)
class Suggestion:
    """A word, the chance that it is the one, and why it is suggested."""

    word: str
    chance: float
    kind: str  # "next", "completion" or "correction"
    own: bool = False  # a word that the student's list lacks


OnProgress = Callable[[LearningProgress], None]
Stop = Callable[[], str | None]  # why to stop now, or None
