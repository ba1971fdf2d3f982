"""Where a student and its teacher part most: by slice, by class or token, and the examples one by one.

Slices are in the order of the least that their mean can be (a 95 % interval by the normal approximation), so
that a small slice is not the first by chance. The share of all nats that the furthest 1 % of examples have
says whether they part a little everywhere or much in a few places.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fedstill_server.inspection.parting.differences import Differences

LEAST_EXAMPLES = 10
MOST_SLICES, MOST_PAIRS, MOST_TOKENS = 12, 12, 12
_WIDTH = 1.96  # standard errors, of a 95 % interval

Named = Callable[[int], str]
"""What a class or a token is called."""
Described = Callable[[int, int], str]
"""What an example is: its row and its place."""


@dataclass(frozen=True, kw_only=True)
class PartedSlice:
    """A slice of the examples: its mean KL in nats, the interval of that, and how often both agree."""

    name: str
    examples: int
    nats: float
    low: float
    high: float
    agreement: float


@dataclass(frozen=True, kw_only=True)
class PartedPair:
    """What the teacher answers, what the student answers in its place, how often, and who was right then."""

    teacher: str
    student: str
    examples: int
    teacher_right: float
    student_right: float


@dataclass(frozen=True, kw_only=True)
class PartedExample:
    """One of the examples that differ most.

    Attributes:
        row: Its row among the test examples.
        place: Its place in the row, of text.
        text: What it says, where it is text.
        nats: KL(teacher || student).
        rank_share: The share of examples that differ as much or more.
        label: The right answer.
        teacher: The teacher's answer, and `teacher_share` its probability.
        student: The student's, and `student_share`.
    """

    row: int
    place: int
    text: str
    nats: float
    rank_share: float
    label: str
    teacher: str
    teacher_share: float
    student: str
    student_share: float


@dataclass(frozen=True, kw_only=True)
class Parting:
    """Where they part.

    Attributes:
        what: "examples" or "tokens".
        examples: How many were asked about.
        temperatures: What the student's and the teacher's logits were divided by.
        calibrated: Whether these were fitted on held-out examples.
        nats: The mean KL.
        median: Half of the examples have less.
        p95: 95 % have less.
        furthest: The share of all nats that the furthest 1 % have.
        agreement: How often both have the same first choice.
        slices: The slices that differ most.
        answers: The right answers (classes, tokens) at which they differ most.
        pairs: The most frequent pairs of different answers.
        most: The examples that differ most.
    """

    what: str
    examples: int
    temperatures: tuple[float, float]
    calibrated: bool
    nats: float
    median: float
    p95: float
    furthest: float
    agreement: float
    slices: tuple[PartedSlice, ...]
    answers: tuple[PartedSlice, ...]
    pairs: tuple[PartedPair, ...]
    most: tuple[PartedExample, ...]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def parting_of(
    found: Differences,
    slices: Mapping[str, npt.NDArray[np.bool_]],
    *,
    what: str,
    named: Named,
    described: Described,
    temperatures: tuple[float, float] = (1.0, 1.0),
    calibrated: bool = False,
    most: int = 20,
) -> Parting:
    """The report on answers.

    Args:
        found: The answers.
        slices: A mask [n] for each slice, by its name.
        what: "examples" or "tokens".
        named: What an answer is called.
        described: What an example says.
        temperatures: That `found` is of.
        calibrated: Whether they were fitted.
        most: How many examples are listed.
    """
    total = float(found.nats.sum())
    order = np.argsort(-found.nats, kind="stable")
    furthest = order[: max(1, len(found) // 100)]
    return Parting(
        what=what,
        examples=len(found),
        temperatures=temperatures,
        calibrated=calibrated,
        nats=float(found.nats.mean()),
        median=float(np.median(found.nats)),
        p95=float(np.quantile(found.nats, 0.95)),
        furthest=float(found.nats[furthest].sum() / total) if total else 0.0,
        agreement=float(found.same.mean()),
        slices=_furthest_slices(found, slices)[:MOST_SLICES],
        answers=_furthest_slices(found, _by_answer(found, named))[:MOST_TOKENS],
        pairs=_pairs(found, named),
        most=tuple(
            PartedExample(
                row=int(found.row[at]),
                place=int(found.place[at]),
                text=described(int(found.row[at]), int(found.place[at])),
                nats=float(found.nats[at]),
                rank_share=(rank + 1) / len(found),
                label=named(int(found.labels[at])),
                teacher=named(int(found.theirs[at])),
                teacher_share=float(found.their_share[at]),
                student=named(int(found.mine[at])),
                student_share=float(found.my_share[at]),
            )
            for rank, at in enumerate(order[:most].tolist())
        ),
    )


def _furthest_slices(
    found: Differences, slices: Mapping[str, npt.NDArray[np.bool_]]
) -> tuple[PartedSlice, ...]:
    """The slices of enough examples, the one whose mean is surely largest first."""
    large = [(name, mask) for name, mask in slices.items() if mask.sum() >= LEAST_EXAMPLES]
    made = [_slice(name, found.nats[mask], found.same[mask]) for name, mask in large]
    return tuple(sorted(made, key=lambda each: (-each.low, each.name)))


def _slice(name: str, nats: npt.NDArray[np.float64], same: npt.NDArray[np.bool_]) -> PartedSlice:
    mean, error = float(nats.mean()), float(nats.std(ddof=1)) / math.sqrt(len(nats))
    return PartedSlice(
        name=name,
        examples=len(nats),
        nats=mean,
        low=max(0.0, mean - _WIDTH * error),
        high=mean + _WIDTH * error,
        agreement=float(same.mean()),
    )


def _by_answer(found: Differences, named: Named) -> dict[str, npt.NDArray[np.bool_]]:
    numbers, counts = np.unique(found.labels, return_counts=True)
    return {
        f"{named(int(number))}": found.labels == number
        for number, count in zip(numbers, counts, strict=True)
        if count >= LEAST_EXAMPLES
    }


def _pairs(found: Differences, named: Named) -> tuple[PartedPair, ...]:
    others = np.flatnonzero(~found.same)
    counts = Counter(zip(found.theirs[others].tolist(), found.mine[others].tolist(), strict=True))
    pairs = []
    for (theirs, mine), count in sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:MOST_PAIRS]:
        labels = found.labels[(found.theirs == theirs) & (found.mine == mine)]
        pairs.append(
            PartedPair(
                teacher=named(theirs),
                student=named(mine),
                examples=count,
                teacher_right=float((labels == theirs).mean()),
                student_right=float((labels == mine).mean()),
            )
        )
    return tuple(pairs)
