"""The answers of a round side by side, for folds that compare devices with each other.

It is a sum like others, kept in an order of its own: devices may be merged in any order. It is bounded: of
more than MOST_DEVICES devices those stay whose answers have the smallest digests, which is a sample that does
not depend on how they were merged.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import Float64Array, IntArray

from fedstill_server.consensus.aggregation import FamilySums, ParameterSum, RowSums, VoteSums
from fedstill_server.consensus.exact_sum import Arrays
from fedstill_server.consensus.folds.norms import ROWS
from fedstill_server.consensus.row_stack import RowStack

MOST_DEVICES = 512
# Answers [n, m, K] of n devices about m rows, NaN where one says nothing: what the fleet says [m, K].
Combine = Callable[[Float64Array], Float64Array]
Sums = TypeVar("Sums", RowSums, VoteSums, FamilySums)


@dataclass(frozen=True, eq=False)
class DeviceAnswer:
    """What one device said.

    Attributes:
        digest: Puts answers in order.
        group: Answers of one group are compared with each other: students of a family; "" for rows.
        places: The rows that it is about [m]; of a student one.
        values: What it says of each [m, K]; of a student all its parameters [1, d].
        shapes: Those of the student's parameters.
    """

    digest: bytes
    group: str
    places: IntArray
    values: Float64Array
    shapes: Mapping[str, tuple[int, ...]]


def _answers(part: RowSums | VoteSums | FamilySums) -> Iterator[DeviceAnswer]:
    """What one device's part says, once for each group."""
    if isinstance(part, FamilySums):
        for family, one in part.families.items():
            if one.weight > 0:
                flat = [total.reshape(-1) / one.weight for total in one.totals.values()]
                shapes = {name: total.shape for name, total in one.totals.items()}
                yield _answer(family, np.zeros(1, np.int64), np.concatenate(flat)[None], shapes)
        return
    means, counts = (part.result(), part.weights) if isinstance(part, RowSums) else (part.plain, part.votes)
    places = np.flatnonzero(counts)
    if len(places):
        yield _answer(ROWS, places, means[places], {})


def _answer(
    group: str, places: IntArray, values: Float64Array, shapes: Mapping[str, tuple[int, ...]]
) -> DeviceAnswer:
    digest = hashlib.sha256(group.encode() + places.tobytes() + np.ascontiguousarray(values).tobytes())
    return DeviceAnswer(digest.digest(), group, places, values, shapes)


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers of `devices` devices, at most MOST_DEVICES of them, in the order of their digests."""

    kept: tuple[DeviceAnswer, ...] = ()
    devices: int = 0

    @classmethod
    def of(cls, part: RowSums | VoteSums | FamilySums) -> Answers:
        """That of one device."""
        return cls(tuple(_answers(part)), part.devices)

    @classmethod
    def of_stack(cls, stack: RowStack) -> Answers:
        """Those of the devices of a stack."""
        if len(stack.places) == 0:
            return cls((), len(stack))
        begun = hashlib.sha256(ROWS.encode() + stack.places.tobytes())
        found = []
        for values in stack.values:
            digest = begun.copy()
            digest.update(values.tobytes())
            # A copy, so that one answer that is kept does not keep those of the whole stack.
            found.append(DeviceAnswer(digest.digest(), ROWS, stack.places, values.copy(), {}))
        return cls(tuple(found), len(stack))

    def __add__(self, other: Answers) -> Answers:
        together = self.accumulator()
        together.add(other)
        return together.result()

    def accumulator(self) -> AnswerList:
        return AnswerList(self)

    def weighted(self, weight: float) -> Answers:
        """The same: where values are put in order, a device counts once or not at all."""
        return self

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {f"{at}/{one.group}": one.values for at, one in enumerate(self.kept)}

    def combined(self, combine: Combine, *, zero: Sums) -> Sums:
        """A sum like `zero`, whose means are what `combine` makes of the answers of each group."""
        found = {}
        for group in sorted({one.group for one in self.kept}):
            answers = [one for one in self.kept if one.group == group]
            places = np.unique(np.concatenate([one.places for one in answers]))
            beside = np.full((len(answers), len(places), answers[0].values.shape[1]), np.nan)
            for values, one in zip(beside, answers, strict=True):
                values[np.searchsorted(places, one.places)] = one.values
            said = (~np.isnan(beside[:, :, 0])).sum(axis=0).astype(np.float64)  # [m]
            found[group] = _Combined(places, combine(beside), said, answers[0].shapes)
        return _sum_like(zero, found, self.devices)


class AnswerList:
    """An accumulator of Answers, which puts them in order when it has twice as many as are kept."""

    is_exact = True

    def __init__(self, zero: Answers) -> None:
        self._kept: list[DeviceAnswer] = []
        self._devices = 0
        self._last: bytes | None = None  # of the kept ones, once some were left out
        self.add(zero)

    def add(self, part: Answers) -> None:
        self._add(part.kept, part.devices)

    def merge(self, other: AnswerList) -> None:
        self._add(other._kept, other._devices)

    def trim(self, memory: dict[str, Any]) -> None:
        """Leave out what comes after MOST_DEVICES digests that were noted: it cannot be kept in the end.

        A digest is noted once, so that a fold may be made, and noted, again.
        """
        self._sort()
        noted = memory.get("digests", [])
        if len(noted) == MOST_DEVICES:
            self._kept = [one for one in self._kept if one.digest <= noted[-1]]
        memory["digests"] = sorted({*noted, *(one.digest for one in self._kept)})[:MOST_DEVICES]

    def result(self) -> Answers:
        self._sort()
        return Answers(tuple(self._kept), self._devices)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        self._sort()
        shapes = {one.group: {name: list(shape) for name, shape in one.shapes.items()} for one in self._kept}
        values = [np.ascontiguousarray(one.values) for one in self._kept]
        return {
            "devices": np.array(self._devices),
            "digests": np.frombuffer(b"".join(one.digest for one in self._kept), np.uint8).reshape(-1, 32),
            "groups": np.array([one.group for one in self._kept], np.str_),
            "group_shapes": np.array(json.dumps(shapes)),
            "rows": np.array([one.shape for one in values], np.int64).reshape(-1, 2),
            "places": np.concatenate([one.places for one in self._kept] or [np.zeros(0, np.int64)]),
            "values": np.concatenate([one.reshape(-1) for one in values] or [np.zeros(0)]),
        }

    def merge_arrays(self, arrays: Arrays) -> None:
        shapes = {
            group: {name: tuple(shape) for name, shape in of.items()}
            for group, of in json.loads(str(arrays["group_shapes"])).items()
        }
        rows = arrays["rows"]
        places = np.split(arrays["places"], np.cumsum(rows[:, 0]))
        values = np.split(arrays["values"], np.cumsum(rows[:, 0] * rows[:, 1]))
        found = []
        for at, (digest, group) in enumerate(zip(arrays["digests"], arrays["groups"].tolist(), strict=True)):
            said = values[at].reshape(rows[at]).copy()
            found.append(DeviceAnswer(digest.tobytes(), group, places[at].copy(), said, shapes[group]))
        self._add(found, int(arrays["devices"]))

    def _add(self, answers: Iterable[DeviceAnswer], devices: int) -> None:
        self._devices += devices
        last = self._last
        self._kept += answers if last is None else [one for one in answers if one.digest < last]
        if len(self._kept) >= 2 * MOST_DEVICES:
            self._sort()

    def _sort(self) -> None:
        self._kept.sort(key=lambda one: one.digest)
        if len(self._kept) > MOST_DEVICES:
            del self._kept[MOST_DEVICES:]
            self._last = self._kept[-1].digest


@dataclass(frozen=True, eq=False)
class _Combined:
    """What the fleet says of `places` [m]: `values` [m, K], of so many answers each, `said` [m]."""

    places: IntArray
    values: Float64Array
    said: Float64Array
    shapes: Mapping[str, tuple[int, ...]]


def _sum_like(zero: Sums, found: Mapping[str, _Combined], devices: int) -> Sums:
    if isinstance(zero, FamilySums):
        families = {family: _student(one) for family, one in found.items()}
        return FamilySums(families, devices)
    if ROWS not in found:
        return replace(zero, devices=devices)
    one = found[ROWS]
    if isinstance(zero, RowSums):
        totals, weights = zero.totals.copy(), zero.weights.copy()
        totals[one.places], weights[one.places] = one.values * one.said[:, None], one.said
        return replace(zero, totals=totals, weights=weights, devices=devices)
    weights = np.repeat(one.said[:, None], one.values.shape[1], axis=1)
    votes = VoteSums.at_places(one.values, weights, one.places, of=len(zero.votes))
    said = votes.weights[:, 0]
    return replace(votes, plain=votes.totals, entropies=said * votes.entropies, votes=said, devices=devices)


def _student(one: _Combined) -> ParameterSum:
    sizes = [math.prod(shape) for shape in one.shapes.values()]
    parts = np.split(one.values[0], np.cumsum(sizes)[:-1])
    each = zip(one.shapes.items(), parts, strict=True)
    return ParameterSum({name: part.reshape(shape) for (name, shape), part in each}, 1.0)
