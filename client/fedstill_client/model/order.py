"""Orders that a device draws for itself: the same alone, in any stack, in any process, on any machine.

Each order comes from sorting splitmix64 keys (Steele, Lea and Flood 2014, "Fast splittable pseudorandom
number generators") of (seed, device, round, epoch, row), so that no device's numbers depend on how many
others were drawn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.errors import FedstillError

KeyArray = npt.NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
# The row stands in the low bits of its own key: a plain sort then yields the rows themselves (1.5 times the
# speed of argsort), and no two keys are equal.
_ROW_BITS = np.uint64(24)
_ROW_MASK = np.uint64((1 << 24) - 1)
# The epochs that numbers of `uniform`, and keys of `fill_uniform`, count as: no epoch of training comes near
# them.
_NOISE_EPOCH = (1 << 32) - 2
_KEY_EPOCH = (1 << 32) - 3


def device_ids(names: Sequence[str]) -> KeyArray:
    """The devices' ids [C]: the first 8 bytes of the SHA-256 of each name."""
    return np.array([int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) for name in names], np.uint64)


def epoch_order(
    seed: int,
    devices: KeyArray,
    *,
    round: int,
    epoch: int,
    counts: IntArray,
    capacity: int,
    shuffle: bool = True,
) -> IntArray:
    """The order [C, N] of each device's rows: its first `counts` [C] shuffled, then the padding rows."""
    if capacity > 1 << int(_ROW_BITS):
        raise FedstillError(
            f"a device holds {capacity} examples; at most {1 << int(_ROW_BITS)} can be shuffled."
        )
    rows = np.arange(capacity, dtype=np.uint64)
    if not shuffle:
        return np.broadcast_to(rows.astype(np.int64), (len(devices), capacity))
    first = _mix(draw(seed, devices, round=round, epoch=epoch))
    keys = _mix(first[:, None] + (rows + np.uint64(1)) * _GOLDEN)  # [C, N]
    padding = rows >= counts[:, None].astype(np.uint64)
    keys = (np.where(padding, ~np.uint64(0), keys) & ~_ROW_MASK) | rows
    keys.sort(axis=1)
    return (keys & _ROW_MASK).astype(np.int64)


def draw(seed: int, devices: KeyArray, *, round: int, epoch: int) -> KeyArray:
    """One number of 64 bits for each device [C]."""
    start = _mix(np.array([seed & 0xFFFFFFFFFFFFFFFF], np.uint64))
    when = np.array([(round << 32) | epoch], np.uint64)
    return _mix(_mix(start ^ devices) + when)


def uniform_keys(seed: int, devices: KeyArray, *, round: int) -> KeyArray:
    """The devices' keys [C] for the random numbers of a round."""
    return draw(seed, devices, round=round, epoch=_KEY_EPOCH)


def uniform(count: int, *, seed: int, step: int) -> npt.NDArray[np.float64]:
    """`count` numbers of 53 bits from 0 up to, and without, 1."""
    start = draw(seed, np.zeros(1, np.uint64), round=step, epoch=_NOISE_EPOCH)
    drawn = _mix(start + np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN)
    return (drawn >> np.uint64(11)).astype(np.float64) * 2.0**-53


def fill_uniform(
    arrays: Sequence[FloatArray], keys: KeyArray, *, step: int, devices: npt.NDArray[np.bool_]
) -> None:
    """Fill arrays [C, ...] with numbers of 24 bits from 0 up to, and without, 1, for some of the devices [C].

    A device's are of Philox (Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3") with its key
    [C] and the array's place, counted from the step: no device's depend on another's.
    """
    for place, array in enumerate(arrays):
        for device in np.flatnonzero(devices):
            key = np.array([keys[device], place], np.uint64)
            counter = np.array([0, 0, step, 0], np.uint64)
            numbers = np.random.Generator(np.random.Philox(key=key, counter=counter))
            numbers.random(dtype=np.float32, out=array[device])


def _mix(state: KeyArray) -> KeyArray:
    """Splitmix64: the output that follows each state."""
    mixed = state + _GOLDEN
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
