"""One distilled student of a sweep, and what all of one size come to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

_CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class SweepPoint:
    """A student.

    Attributes:
        family: Its family, as a person names it.
        width: Its width; 0 is the family's own.
        depth: Its depth; 0 is the family's own.
        seed: Of its weights and its batches.
        accuracy: On the test examples; of text, of next tokens.
        perplexity: Of text.
        parameters: All of them.
        outside_tables: Those outside tables that are looked up and never multiplied.
        flops: Of one example.
        latency_us: The median of single answers, of this size's first student.
        package_bytes: Of its package.
        seconds: That distilling it took.
    """

    family: str
    width: int
    depth: int
    seed: int
    accuracy: float
    perplexity: float | None
    parameters: int
    outside_tables: int
    flops: int
    latency_us: float
    package_bytes: int
    seconds: float

    @property
    def loss(self) -> float:
        """What falls as a student grows: nats of text, else the share of wrong answers."""
        return 1 - self.accuracy if self.perplexity is None else math.log(self.perplexity)


@dataclass(frozen=True, kw_only=True)
class SizeSummary:
    """All students of one size.

    Attributes:
        family: Their family.
        width: Their width.
        depth: Their depth.
        seeds: How many there are.
        accuracy: Their mean accuracy.
        accuracy_low: The lower end of its 95 % interval over seeds (Student's t); the mean itself of one.
        accuracy_high: The upper end.
        loss: Their mean loss: nats of text, else the share of wrong answers.
        loss_low: The lower end of its interval.
        loss_high: The upper end.
        parameters: Of each.
        outside_tables: Of each.
        flops: Of each.
        latency_us: Of the first.
        package_bytes: Of the first.
    """

    family: str
    width: int
    depth: int
    seeds: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    loss: float
    loss_low: float
    loss_high: float
    parameters: int
    outside_tables: int
    flops: int
    latency_us: float
    package_bytes: int


def summaries_of(points: Sequence[SweepPoint]) -> list[SizeSummary]:
    """The sizes in the order of their first students."""
    by_family: dict[str, list[SweepPoint]] = {}
    for point in points:
        by_family.setdefault(point.family, []).append(point)
    found = []
    for family, those in by_family.items():
        first = those[0]
        accuracy, low, high = interval_of([one.accuracy for one in those])
        loss, loss_low, loss_high = interval_of([one.loss for one in those])
        found.append(
            SizeSummary(
                family=family,
                width=first.width,
                depth=first.depth,
                seeds=len(those),
                accuracy=accuracy,
                accuracy_low=max(low, 0.0),
                accuracy_high=min(high, 1.0),
                loss=loss,
                loss_low=max(loss_low, 0.0),
                loss_high=loss_high if first.perplexity is not None else min(loss_high, 1.0),
                parameters=first.parameters,
                outside_tables=first.outside_tables,
                flops=first.flops,
                latency_us=first.latency_us,
                package_bytes=first.package_bytes,
            )
        )
    return found


def interval_of(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean, and its 95 % interval by Student's t; of one value, the value three times."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, mean, mean
    half = float(stats.sem(values) * stats.t.ppf((1 + _CONFIDENCE) / 2, len(values) - 1))
    return mean, mean - half, mean + half


def smallest_near_best(sizes: Sequence[SizeSummary], *, within: float) -> SizeSummary:
    """The size of the fewest parameters whose mean loss is so near to the lowest."""
    best = min(one.loss for one in sizes)
    return min((one for one in sizes if one.loss <= best + within), key=lambda one: one.parameters)
