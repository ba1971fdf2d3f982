"""False training data: the fleet's data with other examples in the place of some devices' own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import IntArray

from fedstill_sim.data.fleet import DeviceRows, FleetData, FleetDataError

Altered = Callable[[npt.NDArray[Any], IntArray], tuple[npt.NDArray[Any], IntArray]]
"""Examples [n, *shape] and their labels [n] -> as many others."""


def with_training_examples(data: FleetData, devices: IntArray, altered: Altered) -> FleetData:
    """The fleet's data in which these devices train on what `altered` makes of their examples.

    The pool grows by the altered examples; what devices are tested on, and all others' examples, stay.

    Raises:
        FleetDataError: The labels stand at each place of a text.
    """
    if data.label_shape:
        raise FleetDataError(f"{data.name}: labels at each place of a text cannot be poisoned")
    rows, parts_x, parts_y, size = list(data.train), [np.asarray(data.x)], [np.asarray(data.y)], len(data.x)
    for device in devices:
        x, y = altered(np.asarray(data.x)[rows[device]], np.asarray(data.y)[rows[device]])
        rows[device] = np.arange(size, size + len(x))
        size += len(x)
        parts_x.append(x.astype(data.x.dtype))
        parts_y.append(y.astype(np.int64))
    return dataclasses.replace(
        data, x=np.concatenate(parts_x), y=np.concatenate(parts_y), train=DeviceRows.of(rows)
    )
