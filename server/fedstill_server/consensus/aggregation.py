"""What the server folds: monoids in float64, with `zero`, `+` and `result`.

A list, a stream and a tree of partial sums give the same answer, bit for bit: `fold` rounds a sum over
devices once, at its end (exact_sum.py). By `+` alone they are the same up to the rounding of float64.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import Float64Array, Parameters
from fedstill_proto.messages import PrivateStatistics

from fedstill_server.consensus.exact_sum import Accumulator, Arrays, ExactFold, accumulator_of, trim_to
from fedstill_server.consensus.statistics import Statistics as Statistics
from fedstill_server.consensus.statistics import Sum

First = TypeVar("First", bound=Statistics)
Second = TypeVar("Second", bound=Statistics)


def fold(parts: Iterable[Sum], zero: Sum) -> Sum:
    """The sum of all parts: exact, and rounded once, whatever their order; see ExactFold."""
    total = ExactFold(zero)
    for part in parts:
        total.add(part)
    return total.result()


def _aged_by(aged: float, devices: int, weight: float) -> float:
    return devices - weight * (devices - aged)


def _if_any(name: str, number: float) -> dict[str, npt.NDArray[Any]]:
    return {name: np.array(number)} if number else {}


def _freshness(aged: float, devices: int) -> float:
    return 1 - aged / max(devices, 1)


@dataclass(frozen=True)
class DeviceCount:
    """Nothing but the number of devices (the `local` baseline)."""

    devices: int = 0

    def __add__(self, other: DeviceCount) -> DeviceCount:
        return DeviceCount(self.devices + other.devices)

    def weighted(self, weight: float) -> DeviceCount:
        return self

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {"devices": np.array(self.devices)}

    def summands(self) -> dict[str, npt.NDArray[Any]]:
        return {}

    def with_sums(self, sums: Mapping[str, Float64Array], devices: int) -> DeviceCount:
        return DeviceCount(devices)


@dataclass(frozen=True, eq=False)
class RowSums:
    """Weighted sums of one vector a row: of a class, or of a public example.

    Attributes:
        totals: [rows, classes].
        weights: [rows]: 1 for each device that answered the row.
        devices: How many devices it is a sum of.
        aged: How much less than once each the devices count, summed.
        noise: Of a noised mean, the standard deviation in each cell of a row with weight 1; else 0.
    """

    totals: Float64Array
    weights: Float64Array
    devices: int = 0
    aged: float = 0.0
    noise: float = 0.0

    @classmethod
    def zero(cls, rows: int, classes: int) -> RowSums:
        return cls(np.zeros((rows, classes)), np.zeros(rows))

    @classmethod
    def of_class_means(cls, statistics: PrivateStatistics, *, classes: int) -> RowSums:
        """A device's class means, each with weight 1: the examples behind them are what it says itself."""
        assert statistics.soft_labels is not None  # the gate lets no other class means through
        return cls.at_places(statistics.soft_labels.dense(), statistics.present_classes, of=classes)

    @classmethod
    def of_prototypes(cls, statistics: PrivateStatistics, *, classes: int) -> RowSums:
        """A device's class prototypes, each with weight 1: totals [classes, anchors]."""
        assert statistics.features is not None  # the gate lets no other prototypes through
        return cls.at_places(statistics.features, statistics.present_classes, of=classes)

    @classmethod
    def of_rows(cls, rows: npt.NDArray[Any]) -> RowSums:
        """A device's vectors [rows, classes], with weight 1."""
        return cls(rows.astype(np.float64), np.ones(len(rows)), 1)

    @classmethod
    def at_places(cls, rows: npt.NDArray[Any], places: npt.NDArray[np.int64], *, of: int) -> RowSums:
        """The sums of one device that answered some of the rows; so devices that answered different rows add
        up.

        Args:
            rows: Its vectors [n, classes].
            places: The rows that they are for [n].
            of: How many rows there are.
        """
        sums = cls.zero(of, rows.shape[1])
        sums.totals[places] = rows
        sums.weights[places] = 1
        return cls(sums.totals, sums.weights, 1)

    def __add__(self, other: RowSums) -> RowSums:
        return RowSums(
            self.totals + other.totals,
            self.weights + other.weights,
            self.devices + other.devices,
            self.aged + other.aged,
        )

    def weighted(self, weight: float) -> RowSums:
        aged = _aged_by(self.aged, self.devices, weight)
        return RowSums(weight * self.totals, weight * self.weights, self.devices, aged)

    @property
    def freshness(self) -> float:
        """The mean weight of the devices: 1 where all are fresh."""
        return _freshness(self.aged, self.devices)

    def result(self) -> Float64Array:
        """The weighted mean of each row [rows, classes]; zeros in a row that nobody answered."""
        return self.totals / np.where(self.weights > 0, self.weights, 1)[:, None]

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {"totals": self.totals, "weights": self.weights}

    def summands(self) -> dict[str, npt.NDArray[Any]]:
        return self.arrays() | _if_any("aged", self.aged)

    def with_sums(self, sums: Mapping[str, Float64Array], devices: int) -> RowSums:
        return RowSums(sums["totals"], sums["weights"], devices, float(sums.get("aged", 0.0)))


@dataclass(frozen=True, eq=False)
class VoteSums:
    """Weighted votes about public rows.

    Attributes:
        totals: Weighted probabilities, summed [rows, classes].
        weights: Their weights, summed [rows, classes].
        plain: Probabilities without weights, summed [rows, classes].
        entropies: Entropies of the votes, summed [rows].
        votes: How many devices voted about a row [rows].
        devices: How many devices it is a sum of.
    """

    totals: Float64Array
    weights: Float64Array
    plain: Float64Array
    entropies: Float64Array
    votes: Float64Array
    devices: int = 0

    @classmethod
    def zero(cls, rows: int, classes: int) -> VoteSums:
        cells = np.zeros((rows, classes))
        return cls(cells, cells, cells, np.zeros(rows), np.zeros(rows))

    @classmethod
    def at_places(
        cls,
        probabilities: Float64Array,
        weights: Float64Array,
        places: npt.NDArray[np.int64],
        *,
        of: int,
    ) -> VoteSums:
        """The sums of one device that answered some of the rows.

        Args:
            probabilities: Its soft labels [n, classes].
            weights: What each counts [n, classes].
            places: The rows that they are for [n].
            of: How many rows there are.
        """

        def placed(values: Float64Array) -> Float64Array:
            everywhere = np.zeros((of, *values.shape[1:]))
            everywhere[places] = values
            return everywhere

        return cls(
            placed(probabilities * weights),
            placed(weights),
            placed(probabilities),
            placed(entropy(probabilities)),
            placed(np.ones(len(places))),
            1,
        )

    def __add__(self, other: VoteSums) -> VoteSums:
        return VoteSums(
            self.totals + other.totals,
            self.weights + other.weights,
            self.plain + other.plain,
            self.entropies + other.entropies,
            self.votes + other.votes,
            self.devices + other.devices,
        )

    def weighted(self, weight: float) -> VoteSums:
        return VoteSums(
            weight * self.totals,
            weight * self.weights,
            weight * self.plain,
            weight * self.entropies,
            weight * self.votes,
            self.devices,
        )

    def mean(self) -> Float64Array:
        """The weighted mean of each class of a row, normalized [rows, classes]; zeros where nobody voted."""
        means = self.totals / np.where(self.weights > 0, self.weights, 1)
        sums = means.sum(axis=1, keepdims=True)
        return np.asarray(means / np.where(sums > 0, sums, 1))

    def agreement(self) -> Float64Array:
        """1 - JSD/log K of each row's votes without their weights: 1 where all are the same [rows]."""
        votes = np.where(self.votes > 0, self.votes, 1)
        divergence = entropy(self.plain / votes[:, None]) - self.entropies / votes
        return np.asarray(1 - np.clip(divergence / np.log(self.plain.shape[1]), 0, 1))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {
            "totals": self.totals,
            "weights": self.weights,
            "plain": self.plain,
            "entropies": self.entropies,
            "votes": self.votes,
        }

    def summands(self) -> dict[str, npt.NDArray[Any]]:
        return self.arrays()

    def with_sums(self, sums: Mapping[str, Float64Array], devices: int) -> VoteSums:
        return VoteSums(**sums, devices=devices)


def entropy(probabilities: Float64Array) -> Float64Array:
    """The entropy in nats over the last dimension; 0 log 0 is 0."""
    logarithm = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    return np.asarray(-(probabilities * logarithm).sum(axis=-1))


@dataclass(frozen=True, eq=False)
class ClassVectors:
    """All vectors that devices gave, side by side: `vectors` [n, width], each with its class and weight [n].

    They are kept in an order of their own, so that merging in any order gives the same.
    """

    vectors: Float64Array
    classes: npt.NDArray[np.int64]
    weights: Float64Array
    devices: int = 0

    @classmethod
    def zero(cls, width: int) -> ClassVectors:
        return cls(np.zeros((0, width)), np.zeros(0, np.int64), np.zeros(0))

    @classmethod
    def together(cls, parts: Sequence[ClassVectors]) -> ClassVectors:
        """The sum of at least one, put in order once."""
        vectors = np.concatenate([one.vectors for one in parts])
        classes = np.concatenate([one.classes for one in parts])
        weights = np.concatenate([one.weights for one in parts])
        order = np.lexsort((weights, *vectors.T, classes))
        return cls(vectors[order], classes[order], weights[order], sum(one.devices for one in parts))

    def __add__(self, other: ClassVectors) -> ClassVectors:
        return self.together((self, other))

    def accumulator(self) -> Accumulator:
        return VectorList(self)

    def weighted(self, weight: float) -> ClassVectors:
        return ClassVectors(self.vectors, self.classes, weight * self.weights, self.devices)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {"vectors": self.vectors, "classes": self.classes, "weights": self.weights}


class VectorList:
    """An accumulator of ClassVectors."""

    is_exact = True

    def __init__(self, zero: ClassVectors) -> None:
        self._parts = [zero]

    def add(self, part: ClassVectors) -> None:
        self._parts.append(part)

    def merge(self, other: VectorList) -> None:
        self._parts += other._parts

    def result(self) -> ClassVectors:
        self._parts = [ClassVectors.together(self._parts)]
        return self._parts[0]

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        result = self.result()
        return {**result.arrays(), "devices": np.array(result.devices)}

    def merge_arrays(self, arrays: Arrays) -> None:
        vectors, classes, weights = (arrays[name] for name in ("vectors", "classes", "weights"))
        self._parts.append(ClassVectors(vectors, classes, weights, int(arrays["devices"])))


@dataclass(frozen=True, eq=False)
class Both(Generic[First, Second]):
    """Two sums over the same devices."""

    first: First
    second: Second

    @property
    def devices(self) -> int:
        return self.first.devices

    def __add__(self, other: Both[First, Second]) -> Both[First, Second]:
        return Both(self.first + other.first, self.second + other.second)

    def weighted(self, weight: float) -> Both[First, Second]:
        return Both(self.first.weighted(weight), self.second.weighted(weight))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        parts = {"first": self.first.arrays(), "second": self.second.arrays()}
        return {f"{part}/{name}": array for part, arrays in parts.items() for name, array in arrays.items()}

    def accumulator(self) -> Accumulator:
        return TwoAccumulators(self)


class TwoAccumulators:
    """An accumulator of Both."""

    def __init__(self, zero: Both[Any, Any]) -> None:
        self._both = {"first": accumulator_of(zero.first), "second": accumulator_of(zero.second)}

    @property
    def is_exact(self) -> bool:
        return all(one.is_exact for one in self._both.values())

    def add(self, part: Both[Any, Any]) -> None:
        self._both["first"].add(part.first)
        self._both["second"].add(part.second)

    def merge(self, other: TwoAccumulators) -> None:
        for name, one in self._both.items():
            one.merge(other._both[name])

    def trim(self, memory: dict[str, Any]) -> None:
        for name, one in self._both.items():
            trim_to(one, memory.setdefault(name, {}))

    def result(self) -> Both[Any, Any]:
        return Both(self._both["first"].result(), self._both["second"].result())

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        each = {name: one.to_arrays() for name, one in self._both.items()}
        return {f"{part}/{name}": array for part, arrays in each.items() for name, array in arrays.items()}

    def merge_arrays(self, arrays: Arrays) -> None:
        for name, one in self._both.items():
            prefix = f"{name}/"
            one.merge_arrays({k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)})


@dataclass(frozen=True, eq=False)
class ParameterSum:
    """Weighted sum of students of one family; `totals` by parameter, empty in the zero."""

    totals: Mapping[str, Float64Array] = field(default_factory=dict)
    weight: float = 0.0

    def __add__(self, other: ParameterSum) -> ParameterSum:
        if not self.totals or not other.totals:
            return other if other.totals else self
        totals = {name: total + other.totals[name] for name, total in self.totals.items()}
        return ParameterSum(totals, self.weight + other.weight)

    def weighted(self, weight: float) -> ParameterSum:
        return ParameterSum(
            {name: weight * total for name, total in self.totals.items()}, weight * self.weight
        )

    def result(self) -> Parameters:
        """The weighted mean, float32; empty where no device with an example answered."""
        if self.weight <= 0:
            return {}
        return {name: (total / self.weight).astype(np.float32) for name, total in self.totals.items()}


@dataclass(frozen=True, eq=False)
class FamilySums:
    """One sum of students for each family."""

    families: Mapping[str, ParameterSum] = field(default_factory=dict)
    devices: int = 0
    aged: float = 0.0  # as in RowSums

    @classmethod
    def of(cls, family: str, statistics: PrivateStatistics, *, given: Parameters | None = None) -> FamilySums:
        """The sums of one device.

        Args:
            family: Its student's family.
            statistics: Its student, which counts once, whatever it says of its examples; without any it
                does not count.
            given: The student that the round started from, which is subtracted; None subtracts nothing.
        """
        weight = float(statistics.examples > 0)
        totals = {
            name: weight * (array.astype(np.float64) - (0 if given is None else given[name]))
            for name, array in statistics.parameters.items()
        }
        return cls({family: ParameterSum(totals, weight)}, 1)

    def __add__(self, other: FamilySums) -> FamilySums:
        names = [*self.families, *(name for name in other.families if name not in self.families)]
        empty = ParameterSum()
        families = {n: self.families.get(n, empty) + other.families.get(n, empty) for n in names}
        return FamilySums(families, self.devices + other.devices, self.aged + other.aged)

    def weighted(self, weight: float) -> FamilySums:
        families = {name: part.weighted(weight) for name, part in self.families.items()}
        return FamilySums(families, self.devices, _aged_by(self.aged, self.devices, weight))

    @property
    def freshness(self) -> float:
        """The mean weight of the devices: 1 where all are fresh."""
        return _freshness(self.aged, self.devices)

    def result(self) -> dict[str, Parameters]:
        """The mean student of each family that answered."""
        return {name: mean for name, part in self.families.items() if (mean := part.result())}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        flat: dict[str, npt.NDArray[Any]] = {}
        for family, part in self.families.items():
            flat[f"{family}/weight"] = np.array(part.weight)
            flat |= {f"{family}/{name}": total for name, total in part.totals.items()}
        return flat

    def summands(self) -> dict[str, npt.NDArray[Any]]:
        found = _if_any("aged", self.aged)
        for family, part in self.families.items():
            key = f"{len(family)}:{family}"  # so that a family's name may contain anything
            found[key] = np.array(part.weight)
            found |= {f"{key}/{name}": total for name, total in part.totals.items()}
        return found

    def with_sums(self, sums: Mapping[str, Float64Array], devices: int) -> FamilySums:
        totals: dict[str, dict[str, Float64Array]] = {}
        weights: dict[str, float] = {}
        for key, total in sums.items():
            size, colon, rest = key.partition(":")
            if not colon:
                continue
            family, name = rest[: int(size)], rest[int(size) :]
            if name:
                totals.setdefault(family, {})[name[1:]] = total
            else:
                weights[family] = float(total)
        families = {one: ParameterSum(totals.get(one, {}), weights[one]) for one in sorted(weights)}
        return FamilySums(families, devices, float(sums.get("aged", 0.0)))
