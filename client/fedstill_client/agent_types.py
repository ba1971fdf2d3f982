"""What an agent is asked and what it answers, in its own process and through its socket alike.

These are the types of learning too: the learning itself, the agent, its service and its commands all speak in
them. Light to import: an app that only talks to the agent loads no ONNX Runtime.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from fedstill_proto.errors import FedstillError, InvalidValue, unknown_name

if TYPE_CHECKING:
    from fedstill_proto.text.intents import ScoredIntent


class AgentError(FedstillError):
    """The agent cannot do what it is asked; the text says why."""


class AgentRefused(AgentError):
    """What was sent is not what this agent takes; the text names the field."""


class AgentBusy(AgentError):
    """The agent does the same thing already; ask again later."""


class AgentUnavailable(AgentError):
    """No agent answers at a socket."""


_Name = TypeVar("_Name", bound=str)
Precision = Literal["float32", "int8"]
PRECISIONS: tuple[Precision, ...] = ("float32", "int8")


def check_precision(precision: str) -> Precision:
    """The precision of this name; raises UnknownName where there is none."""
    return _known("precision", precision, PRECISIONS)


Scope = Literal["owner", "everyone"]
"""Whose questions an answer is for.

"owner" is the device's own student with what it knows of its owner, and what answers where nothing else is
asked for; "everyone" is the fleet's student alone, the same on each device of the fleet.
"""
SCOPES: tuple[Scope, ...] = ("owner", "everyone")


def check_scope(scope: str) -> Scope:
    """The scope of this name; raises UnknownName where there is none."""
    return _known("scope", scope, SCOPES)


def _known(kind: str, name: str, names: Sequence[_Name]) -> _Name:
    """The one of these names that `name` is."""
    for known in names:
        if name == known:
            return known
    raise unknown_name(kind, name, names)


def _option(text: str) -> Any:
    """An optional field whose option on the command line has this help."""
    return field(default=None, metadata={"help": text})


@dataclass(frozen=True)
class PersonalizeOptions:
    """How to learn this time; what is None is the device's own choice.

    The help of each field is that of its option of `fedstill-agent personalize`.
    """

    epochs: int | None = _option("Passes over the private examples, at most; 20.")
    batch_size: int | None = _option("Private examples in a step; what fits, up to 16.")
    learning_rate: float | None = _option("Step size of the optimizer.")
    temperature: float | None = _option("Softness of what the fleet's student knows; 1.")
    soft_weight: float | None = _option(
        "Weight of what the fleet's student knows (0: forget freely, 1: learn nothing new); 0.5."
    )
    seed: int | None = _option("Seed of the order of the examples; 0.")
    max_seconds: float | None = _option("With --home: end after so many seconds.")
    max_steps: int | None = _option("With --home: end after so many training steps.")

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
class Score:
    """How well a student does.

    Attributes:
        loss: Mean cross-entropy in nats; with soft labels of public examples, of those as well (see
            learning/evaluator.py).
        correct: Right answers to the device's own examples.
        answers: All answers to these: one for each example, or for each place of a text.
    """

    loss: float
    correct: int
    answers: int

    @property
    def accuracy(self) -> float:
        """The share of right answers, from 0 to 1."""
        return self.correct / max(self.answers, 1)

    def is_better_than(self, other: Score) -> bool:
        """Whether the loss is lower, with no fewer right answers."""
        return self.loss < other.loss and self.correct >= other.correct

    def __str__(self) -> str:
        return f"loss {self.loss:.4f}, {self.correct} of {self.answers} right"


@dataclass(frozen=True)
class LearningProgress:
    """Where a learning stands.

    Attributes:
        steps: Training steps taken so far.
        epoch: The epoch that the last step was in, from 1 on.
        epochs: Epochs at most.
        training_loss: Mean loss of the steps since the last report.
        seconds: Time spent so far.
        best: The best score so far; None while nothing was better than the student from before.
    """

    steps: int
    epoch: int
    epochs: int
    training_loss: float
    seconds: float
    best: Score | None = None


class LearningOutcome(enum.StrEnum):
    """How a learning ended."""

    REPLACED = "replaced"  # the new student answers from now on
    KEPT = "kept"  # the new student was no better
    INTERRUPTED = "interrupted"  # the next learning goes on from here
    NOTHING = "nothing"  # there was nothing to learn from


@dataclass(frozen=True)
class LearningResult:
    """What a learning came to; over all sessions, where it was interrupted.

    Attributes:
        result: One of `LearningOutcome`.
        words: What happened, and why, for a person.
        before: The score of the student from before.
        after: The score of the best new student.
        judged_on: The examples that students were scored on: "held-out examples", or "all examples" where too
            few are held out.
        steps: Training steps taken.
        epochs: Epochs begun.
        seconds: Time spent.
        joules: Energy spent; None where it is not measured.
        soft_labels: What kept the student from forgetting: "fleet", "installed" (what the fleet's student
            says of the public set) or "none".
        soft_examples: Examples with soft labels.
        resumed: Whether it went on from an earlier session.
    """

    result: str
    words: str
    before: Score | None = None
    after: Score | None = None
    judged_on: str = ""
    steps: int = 0
    epochs: int = 0
    seconds: float = 0.0
    joules: float | None = None
    soft_labels: str = "none"
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
    input_shape: tuple[int, ...]  # of an example as it is given
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
    class_names: tuple[str, ...] = ()  # of all classes, or none
    target: str = "single-label"  # what an answer says: single-label, multi-label or regression
    columns: str = ""  # JSON: of the table that examples are rows of; "": they are not
    texts: str = ""  # what it makes of a text's sub-words: classes, embedding, next-token; "": it reads none


@dataclass(frozen=True)
class Forgotten:
    """What was removed.

    Attributes:
        examples: Private examples.
        students: Personal students, which may have been learned from the examples.
        learning: Whether a learning that had not ended was dropped.
    """

    examples: int
    students: int
    learning: bool


@dataclass(frozen=True)
class UnclearUtterance:
    """An utterance that was not understood.

    Attributes:
        id: Its number.
        text: What was said.
        heard_at: When, the last time, in seconds since 1970.
        intents: What it may mean, the likeliest first.
    """

    id: int
    text: str
    heard_at: float
    intents: tuple[ScoredIntent, ...]


@dataclass(frozen=True)
class UnclearUtterances:
    """What waits for the owner to say what it means.

    Attributes:
        utterances: The newest of them, the newest first.
        in_all: How many there are.
        names: All intents that the student tells apart.
    """

    utterances: tuple[UnclearUtterance, ...]
    in_all: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class Suggestion:
    """A word that is suggested.

    Attributes:
        word: The word.
        chance: The probability that it is the one.
        kind: Why it is suggested: "next", "completion" or "correction".
        own: Whether it is a word of the owner's that the student's list lacks.
    """

    word: str
    chance: float
    kind: str
    own: bool = False


class KeptText(int):
    """The id of a text that was kept, which `forget` takes; 0 where nothing of it was.

    Attributes:
        left_out: Parts of the text that look private, and are kept nowhere.
    """

    left_out: int

    def __new__(cls, number: int, left_out: int = 0) -> KeptText:
        """The id, with what was left out."""
        kept = super().__new__(cls, number)
        kept.left_out = left_out
        return kept


@dataclass(frozen=True)
class OwnWord:
    """A word of the owner's.

    Attributes:
        word: As it is written.
        count: How often it was typed; of one that was imported and never typed, what its dictionary says.
        last: When it was typed last, or imported, in seconds since 1970; 0 where that is not known.
        imported: Whether it is in the personal dictionary.
    """

    word: str
    count: int = 1
    last: float = 0.0
    imported: bool = False


@dataclass(frozen=True)
class WordsAnswer:
    """What came of a call about words.

    Attributes:
        words: The words that were asked for.
        changed: Words that were forgotten, blocked, unblocked or imported.
        texts: Texts that forgotten words were taken out of.
        students: Personal students that were dropped, as they may have learned the words.
        left_out: Parts of texts, or words of an import, that look private and are kept nowhere.
        learning: Whether a learning that had not ended was dropped.
    """

    words: tuple[OwnWord, ...] = ()
    changed: int = 0
    texts: int = 0
    students: int = 0
    left_out: int = 0
    learning: bool = False


WordsAction = Literal["list", "forget", "block", "unblock", "blocked", "import", "export"]
WORDS_ACTIONS: tuple[WordsAction, ...] = (
    "list",
    "forget",
    "block",
    "unblock",
    "blocked",
    "import",
    "export",
)


def check_words_action(action: str) -> WordsAction:
    """The action of this name; raises UnknownName where there is none."""
    return _known("words", action, WORDS_ACTIONS)


OnProgress = Callable[[LearningProgress], None]
Stop = Callable[[], str | None]  # why to stop now, or None
