"""Cuts a fleet's data into the stacks that the client's own code works on."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt
from fedstill_client.model.order import KeyArray, device_ids
from fedstill_client.model.private_stack import PrivateStack
from fedstill_proto.arrays import IntArray

from fedstill_sim.data.fleet import DeviceRows, FleetData

Number = TypeVar("Number", bound=np.integer)


class FleetStacks:
    """Private and test examples of any devices, as rows of the fleet's one pool."""

    def __init__(self, data: FleetData) -> None:
        self.device_names = data.device_names
        # Plain arrays over the same mapped memory: indexing numpy's memmap class is slower.
        self._x = np.asarray(data.x)
        self._y = np.asarray(data.y)
        self._train, self._test = data.train, data.test

    def ids(self, devices: IntArray) -> KeyArray:
        """What each device draws its random numbers from."""
        return device_ids([self.device_names[device] for device in devices.tolist()])

    def train_counts(self, devices: IntArray) -> IntArray:
        """Training examples of each device."""
        return self._train.offsets[devices + 1] - self._train.offsets[devices]

    def private(self, devices: IntArray) -> PrivateStack:
        """What the devices train on."""
        return self._stack(self._train, devices)

    def test(self, devices: IntArray) -> PrivateStack:
        """What the devices are tested on."""
        return self._stack(self._test, devices)

    def _stack(self, owned: DeviceRows, devices: IntArray) -> PrivateStack:
        first = owned.offsets[devices]
        counts = owned.offsets[devices + 1] - first
        capacity = max(int(counts.max(initial=0)), 1)
        places = first[:, None] + np.arange(capacity)  # [C, N], beyond a device's own rows: padding
        if not len(owned.rows):
            rows = np.zeros(places.shape, np.int64)
        else:
            rows = owned.rows.take(places, mode="clip").astype(np.int64, copy=False)
        return PrivateStack(self._x, self._y.take(rows, axis=0), counts, rows)


def padded(part: npt.NDArray[Number], stack_size: int) -> npt.NDArray[Number]:
    """Fill a stack up: the values of its devices, the last of them repeated into the places that are left."""
    return part.take(np.arange(stack_size), mode="clip")
