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

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import Float64Array

from fedstill_server.consensus.aggregation import FamilySums, RowSums

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
    def of_students(cls, part: FamilySums) -> Norms:
        """That of one device's student."""
        return cls._of({family: norm_of(one.totals) for family, one in part.families.items()})

    @classmethod
    def _of(cls, numbers: Mapping[str, float]) -> Norms:
        return cls({group: np.array([number]) for group, number in numbers.items() if number > 0}, 1)

    def __add__(self, other: Norms) -> Norms:
        groups = {
            group: np.sort(
                np.concatenate([one.by_group[group] for one in (self, other) if group in one.by_group])
            )
            for group in {**self.by_group, **other.by_group}
        }
        return Norms(groups, self.devices + other.devices)

    def weighted(self, weight: float) -> Norms:
        return self

    def usual(self, group: str = ROWS) -> float:
        """The lower median of a group; 0 where no device of it moved at all."""
        numbers = self.by_group.get(group, np.zeros(0))
        return float(numbers[(len(numbers) - 1) // 2]) if len(numbers) else 0.0

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return dict(self.by_group)


def row_norms(part: RowSums) -> Float64Array:
    """The norm of each row of one device's answer [rows]."""
    norms: Float64Array = np.linalg.norm(part.result(), axis=1)
    return norms


def norm_of(parameters: Mapping[str, Float64Array]) -> float:
    """The norm of all parameters together."""
    return float(np.sqrt(sum(float((array * array).sum()) for array in parameters.values())))
