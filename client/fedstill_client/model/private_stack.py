"""The private examples of a stack of devices; a real device is a stack of one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.errors import FedstillError


@dataclass(frozen=True)
class PrivateStack:
    """Examples of C devices with room for N each: the first `counts` are its own, the rest is padding.

    Devices whose examples come from one table (a simulated fleet) name their `rows` of it instead of
    copying them: `x` then is the table.
    """

    x: FloatArray  # [C, N, *shape], or with `rows` the table [n, *shape]; int64 where it is text
    labels: npt.NDArray[Any]  # [C, N], of text [C, N, S]; int64 or float32; any where it is padding
    counts: IntArray  # [C]
    rows: IntArray | None = None  # [C, N] rows of the table; any row where it is padding
    table: FloatArray = field(init=False, repr=False)  # [n, *shape]
    table_rows: IntArray = field(init=False, repr=False)  # [C, N]

    def __post_init__(self) -> None:
        devices, capacity = self.labels.shape[:2]
        if self.counts.shape != (devices,) or capacity == 0:
            raise FedstillError(
                f"a private stack has labels of shape {self.labels.shape} and counts of shape "
                f"{self.counts.shape}; it needs [C, N] with N of 1 or more, and [C]."
            )
        if self.counts.size and not 0 <= self.counts.min() <= self.counts.max() <= capacity:
            raise FedstillError(
                f"private counts reach from {self.counts.min()} to {self.counts.max()}, of {capacity}."
            )
        object.__setattr__(self, "table", self._checked_table(devices, capacity))
        object.__setattr__(self, "table_rows", self._checked_rows(devices, capacity))

    def _checked_table(self, devices: int, capacity: int) -> FloatArray:
        if self.x.dtype not in (np.float32, np.int64):
            raise FedstillError(
                f"private examples are {self.x.dtype}; give float32, or int64 numbers of words."
            )
        if self.rows is not None:
            return self.x
        if self.x.shape[:2] != (devices, capacity):
            raise FedstillError(
                f"private examples have shape {self.x.shape}; their labels {self.labels.shape}."
            )
        return self.x.reshape(devices * capacity, *self.x.shape[2:])

    def _checked_rows(self, devices: int, capacity: int) -> IntArray:
        if self.rows is None:
            return np.arange(devices * capacity).reshape(devices, capacity)
        if self.rows.shape != (devices, capacity):
            raise FedstillError(
                f"private rows have shape {self.rows.shape}; their labels {self.labels.shape}."
            )
        if self.rows.size and not 0 <= self.rows.min() <= self.rows.max() < len(self.x):
            raise FedstillError(f"private rows reach to {self.rows.max()}; the table has {len(self.x)} rows.")
        return self.rows

    @classmethod
    def of_one(cls, x: FloatArray, labels: npt.NDArray[Any]) -> PrivateStack:
        """The examples [n, *shape] and labels [n, *label_shape] of a single device, which may have none."""
        if len(labels) == 0:
            x, labels = (np.zeros((1, *array.shape[1:]), array.dtype) for array in (x, labels))
            return cls(x[None], labels[None], np.array([0]))
        return cls(x[None], labels[None], np.array([len(labels)]))

    @property
    def devices(self) -> int:
        """C."""
        return int(self.labels.shape[0])

    @property
    def capacity(self) -> int:
        """N."""
        return int(self.labels.shape[1])

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return tuple(self.table.shape[1:])

    def part(self, rows: slice) -> PrivateStack:
        """The devices' examples in these places."""
        labels = self.labels[:, rows]
        counts = np.clip(self.counts - rows.start, 0, labels.shape[1])
        return PrivateStack(self.table, labels, counts, self.table_rows[:, rows])

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """Whether a row is an example rather than padding, [C, N]."""
        return np.arange(self.capacity) < self.counts[:, None]
