"""What tasks may ask of a device, as bounds: those of its owner's policy, and of a fleet's signed statement.

A task, a statement and a policy are compared in the same words: `TaskBounds.of_task` gives the bounds that a
task just fits into, and `excess` names where one set of bounds goes beyond another.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Self

import numpy as np

from fedstill_proto.errors import InvalidValue
from fedstill_proto.messages import (
    PersonalPlan,
    RoundTask,
    StartPlan,
    StartSource,
    SummaryKind,
    SummaryRequest,
)
from fedstill_proto.secure_sums.terms import SumNoise
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec

ANSWERS = (
    *(kind.value for kind in SummaryKind if kind is not SummaryKind.NONE),
    "class-counts",
    "row-selection",
    "features",
)
STARTS = (*(source.value for source in StartSource), "task")
PROTECTIONS = ("noise", "shared-noise", "sum", "plain")
ENCODINGS = tuple(encoding.value for encoding in Encoding)
_NO_START = StartPlan(source=StartSource.OWN)
_NO_PERSONAL = PersonalPlan(epochs=0, learning_rate=0.0)
_BITS = {
    Encoding.FLOAT32: 32,
    Encoding.FLOAT16: 16,
    Encoding.UINT8: 8,
    Encoding.TOP_K: 8,
    Encoding.GAUSSIAN: 8,
}


def rule(default: Any, says: str, *, words: tuple[str, ...] = (), least: float = 0, most: float = 1e9) -> Any:
    """A rule of a dataclass of bounds.

    Args:
        default: Its value where nobody sets it.
        says: What it means and costs, for a person.
        words: Those that it may hold, where it is a tuple of words.
        least: The least number that it may be.
        most: The most.
    """
    return field(default=default, metadata={"says": says, "words": words, "least": least, "most": most})


@dataclass(frozen=True)
class Excess:
    """One rule that something goes beyond."""

    rule: str
    value: object
    bound: object

    def __str__(self) -> str:
        return f"{self.rule}: {_shown(self.value)} is asked for, the bound is {_shown(self.bound)}"


@dataclass(frozen=True, kw_only=True)
class TaskBounds:
    """Bounds of what tasks ask; each field's metadata says what it means and costs.

    Raises:
        InvalidValue: A field holds what it cannot, named with its limit.
    """

    answers: tuple[str, ...] = rule(
        ("public-set",),
        "What may be answered. public-set: coarse soft labels of public examples, which tell least. "
        "class-means, class-prototypes, features: means over private examples, where a lone one shows. "
        "class-counts: how many examples of each class. row-selection: which public examples look like "
        "private ones. parameters: weights, from which private examples can be rebuilt.",
        words=ANSWERS,
    )
    starts: tuple[str, ...] = rule(
        ("installed", "own"),
        "Where training may start: the installed, signed student; the device's own; or weights that a task "
        "carries (task), which a hostile server can make so that answers give private examples away.",
        words=STARTS,
    )
    protection: tuple[str, ...] = rule(
        ("noise", "shared-noise"),
        "What must stand between an answer and the server: noise of the device's own (noise), or that "
        "the devices of a secure sum add together (shared-noise); the sum alone (sum); or nothing (plain): "
        "then a server that knows the student, and asks often, rebuilds private examples from answers.",
        words=PROTECTIONS,
    )
    encodings: tuple[str, ...] = rule(
        ("uint8", "top-k", "levels", "gaussian", "drawn"),
        "How soft labels may be coded; float32 and float16 keep the last digits, which tell most.",
        words=ENCODINGS,
    )
    most_bits: int = rule(8, "Bits of one number of an answer, before entropy coding.", least=1, most=32)
    most_rows: int = rule(512, "Public examples that one answer is about.")
    most_numbers: int = rule(100_000, "Numbers in one answer; of parameters, none are counted.")
    most_learning_rate: float = rule(
        0.1, "The learning rate of a round; larger steps leave more of single examples.", most=1e6
    )
    most_epochs: int = rule(20, "Passes over the private examples in a round.", most=1_000_000)
    most_start_epochs: int = rule(
        100, "Passes over public examples in which a round's start learns the fleet's soft labels first."
    )
    least_temperature: float = rule(
        1.0, "The temperature of soft labels; below 1, small differences become large.", least=1e-3, most=1e3
    )
    most_temperature: float = rule(20.0, "The temperature of soft labels.", least=1e-3, most=1e3)
    rounds_a_day: int = rule(50, "Rounds that are begun within 24 hours; 0 takes part in none.")
    evaluations_a_day: int = rule(
        50, "Times within 24 hours that right answers are counted for the server; 0 tells no counts."
    )

    def __post_init__(self) -> None:
        for one in fields(self):
            _check(one.name, getattr(self, one.name), one.default, one.metadata)

    @classmethod
    def of_task(cls, task: RoundTask, *, classes: int, places: int = 1) -> TaskBounds:
        """The least bounds that the task is inside of.

        Args:
            task: The task.
            classes: How many the student knows.
            places: How many labels an example has: of text one for each word.
        """
        training, request = task.training, task.request
        personal, distils = task.personal or _NO_PERSONAL, task.start or _NO_START
        rates = [plan.learning_rate for plan in (training, personal) if plan.epochs > 0]
        return TaskBounds(
            answers=tuple(_answers_of(request)),
            starts=(start_of(task),),
            protection=(protection_of(task.request),),
            encodings=() if request.codec is None else (request.codec.encoding.value,),
            most_bits=bits_of(request.codec),
            most_rows=max(len(request.public_rows), len(request.anchor_rows)),
            most_numbers=numbers_of(request, classes=classes, places=places),
            most_learning_rate=max([*rates, distils.learning_rate]),
            most_epochs=training.epochs + personal.epochs,
            most_start_epochs=distils.epochs,
            least_temperature=training.temperature,
            most_temperature=training.temperature,
            rounds_a_day=1,
            evaluations_a_day=0,
        )

    @classmethod
    def covering(cls, parts: Iterable[TaskBounds]) -> TaskBounds:
        """The least bounds that all of these, at least one, are inside of."""
        every = list(parts)
        values: dict[str, Any] = {}
        for one in fields(TaskBounds):
            found = [getattr(part, one.name) for part in every]
            if one.metadata["words"]:
                values[one.name] = tuple(w for w in one.metadata["words"] if any(w in part for part in found))
            else:
                values[one.name] = (min if one.name.startswith("least_") else max)(found)
        return TaskBounds(**values)

    def excess(self, asked: TaskBounds) -> Iterator[Excess]:
        """Where `asked` goes beyond these bounds, rule by rule."""
        for one in fields(TaskBounds):
            bound, value = getattr(self, one.name), getattr(asked, one.name)
            if isinstance(bound, tuple):
                beyond: object = tuple(word for word in value if word not in bound)
                if beyond:
                    yield Excess(one.name, beyond, bound)
            else:
                # A rate travels in 32 bits: what asks for just the bound may come rounded away from it.
                around = (bound, float(np.float32(bound)))
                if value < min(around) if one.name.startswith("least_") else value > max(around):
                    yield Excess(one.name, value, bound)

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all fields."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_json(cls, given: object) -> Self:
        """Read `to_json`'s object; a field that is missing has its default. Raises InvalidValue."""
        known = [one.name for one in fields(cls)]
        if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
            raise InvalidValue("bounds", "not an object of rules")
        if unknown := sorted(given.keys() - set(known)):
            raise InvalidValue(unknown[0], f"no such rule; there are {', '.join(known)}")
        values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in given.items()}
        return cls(**values)


def start_of(task: RoundTask) -> str:
    """Where a task lets training start, as a word of STARTS.

    Weights for devices without a student only are not needed: the installed one can take their place.
    """
    if task.start is not None:
        return task.start.source.value
    return "task" if task.replace_student else "own"


def protection_of(request: SummaryRequest) -> str:
    """What stands between an answer and the server, as a word of PROTECTIONS; plain where nothing does.

    No answer at all is plain, too: even that a training ended may reveal something.
    """
    noised, summing = request.noising is not None, request.summing
    if summing is None:
        return "noise" if noised else "plain"
    return "sum" if summing.noise is SumNoise.NONE else "shared-noise"


def bits_of(codec: SoftLabelCodec | None) -> int:
    """Bits of one number of soft labels, before entropy coding; 1 where there are none."""
    if codec is None:
        return 1
    return codec.bits if codec.encoding in (Encoding.LEVELS, Encoding.DRAWN) else _BITS[codec.encoding]


def numbers_of(request: SummaryRequest, *, classes: int, places: int = 1) -> int:
    """Numbers in an answer without noise; of parameters none are counted."""
    if request.kind in (SummaryKind.NONE, SummaryKind.PARAMETERS):
        return 0
    public = request.kind is SummaryKind.PUBLIC_SET
    rows = len(request.public_rows) * places if public else classes
    kept = 0 if request.codec is None else request.codec.k + request.codec.drawn
    with_labels = request.kind is not SummaryKind.CLASS_PROTOTYPES
    numbers = rows * (2 * min(kept, classes) if kept else classes) if with_labels else 0
    counted = classes if request.class_counts or not public else 0
    selected = len(request.public_rows) if request.selection is not None else 0
    return numbers + rows * len(request.anchor_rows) + counted + selected


def nominal_bytes(request: SummaryRequest, *, classes: int, places: int = 1) -> int:
    """The most bytes of an answer's numbers, before entropy coding; of features, 4 for each."""
    numbers = numbers_of(request, classes=classes, places=places)
    bits = 32 if len(request.anchor_rows) else bits_of(request.codec)
    return -(-numbers * bits // 8)


def _answers_of(request: SummaryRequest) -> Iterator[str]:
    if request.kind is not SummaryKind.NONE:
        yield request.kind.value
    if request.class_counts:
        yield "class-counts"
    if request.selection is not None:
        yield "row-selection"
    if len(request.anchor_rows) and request.kind is not SummaryKind.CLASS_PROTOTYPES:
        yield "features"


def _check(name: str, value: object, default: object, metadata: Mapping[str, Any]) -> None:
    """Raise InvalidValue unless the value is of the default's type, and within the rule's own limits."""
    assert default is not MISSING  # every rule has one
    if isinstance(default, tuple):
        words = metadata["words"]
        if not isinstance(value, tuple) or any(word not in words for word in value):
            raise InvalidValue(name, f"{_shown(value)} are not words of {', '.join(words)}")
        return
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise InvalidValue(name, f"{value!r} is neither true nor false")
        return
    whole = isinstance(default, int)
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise InvalidValue(name, f"{value!r} is not a {'whole ' if whole else ''}number")
    if not math.isfinite(value):
        raise InvalidValue(name, f"{value!r} is not finite")
    if not metadata["least"] <= value <= metadata["most"]:
        raise InvalidValue(name, f"{value!r} is not {metadata['least']:g} to {metadata['most']:g}")


def _shown(value: object) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
