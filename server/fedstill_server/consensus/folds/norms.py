"""How long the answers of a round are: what one device's answer is compared with, before it is summed.

A first pass over the answers keeps one number a device,

    q_i = the 75th percentile of the norms of its row shifts        (answers about rows)
    q_i = the norm of how far its student moved                     (students, within a family)

and what is usual in the round is the lower median of the q_i that are not 0. It is that of devices and not of
all rows together, so that it is an honest device's, or lies between two of them, as long as fewer than half
lie: a percentile of all rows belongs to the liars as soon as they are a quarter (clipping at a quantile:
Andrew et al. 2021, arXiv 1905.03871; at what is common:
Karimireddy et al. 2021, arXiv 2012.10333).
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import Float64Array

from fedstill_server.consensus.aggregation import FamilySums, RowSums
from fedstill_server.consensus.exact_sum import Arrays
from fedstill_server.consensus.row_stack import RowStack

ROWS = ""  # the group of answers about rows
_PERCENTILE = 75.0


@dataclass(frozen=True, eq=False)
class Norms:
    """A number a device, increasing, by the group of answers that they are compared within; a monoid."""

    by_group: Mapping[str, Float64Array] = field(default_factory=dict)
    devices: int = 0

    @classmethod
    def of_rows(cls, part: RowSums) -> Norms:
        """That of one device's rows."""
        norms = row_norms(part)[part.weights > 0]
        return cls._of({ROWS: float(np.percentile(norms, _PERCENTILE)) if len(norms) else 0.0})

    @classmethod
    def of_stack(cls, stack: RowStack) -> Norms:
        """Those of the devices of a stack."""
        if stack.values.shape[1] == 0:
            return cls({}, len(stack))
        numbers = np.percentile(stack_norms(stack), _PERCENTILE, axis=1)
        numbers = np.sort(numbers[numbers > 0])
        return cls({ROWS: numbers} if len(numbers) else {}, len(stack))

    @classmethod
    def of_students(cls, part: FamilySums) -> Norms:
        """That of one device's student."""
        return cls._of({family: norm_of(one.totals) for family, one in part.families.items()})

    @classmethod
    def _of(cls, numbers: Mapping[str, float]) -> Norms:
        return cls({group: np.array([number]) for group, number in numbers.items() if number > 0}, 1)

    def __add__(self, other: Norms) -> Norms:
        together = self.accumulator()
        together.add(other)
        return together.result()

    def accumulator(self) -> NormList:
        return NormList(self)

    def weighted(self, weight: float) -> Norms:
        return self

    def usual(self, group: str = ROWS) -> float:
        """The lower median of a group; 0 where no device of it moved at all."""
        numbers = self.by_group.get(group, np.zeros(0))
        return float(numbers[(len(numbers) - 1) // 2]) if len(numbers) else 0.0

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return dict(self.by_group)


class NormList:
    """An accumulator of Norms, which puts them in order once."""

    is_exact = True

    def __init__(self, zero: Norms) -> None:
        self._by_group: dict[str, array[float]] = {}
        self._devices = 0
        self.add(zero)

    def add(self, part: Norms) -> None:
        self._devices += part.devices
        for group, numbers in part.by_group.items():
            self._of(group).frombytes(numbers.tobytes())

    def merge(self, other: NormList) -> None:
        self._devices += other._devices
        for group, numbers in other._by_group.items():
            self._of(group).extend(numbers)

    def result(self) -> Norms:
        groups = {group: np.sort(np.array(numbers)) for group, numbers in self._by_group.items()}
        return Norms(groups, self._devices)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        groups = {f"of {group}": np.array(numbers) for group, numbers in self._by_group.items()}
        return {"devices": np.array(self._devices), **groups}

    def merge_arrays(self, arrays: Arrays) -> None:
        groups = {name.removeprefix("of "): one for name, one in arrays.items() if name.startswith("of ")}
        self.add(Norms(groups, int(arrays["devices"])))

    def _of(self, group: str) -> array[float]:
        return self._by_group.setdefault(group, array("d"))


def row_norms(part: RowSums) -> Float64Array:
    """The norm of each row of one device's answer [rows]."""
    norms: Float64Array = np.linalg.norm(part.result(), axis=1)
    return norms


def stack_norms(stack: RowStack) -> Float64Array:
    """The norm of each row of each device's answer [devices, n]."""
    norms: Float64Array = np.linalg.norm(stack.values, axis=2)
    return norms


def norm_of(parameters: Mapping[str, Float64Array]) -> float:
    """The norm of all parameters together."""
    return float(np.sqrt(sum(float((one * one).sum()) for one in parameters.values())))
