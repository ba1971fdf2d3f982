"""Splits a pool of labelled examples over devices, and holds a quarter of each device's out to test on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray

from fedstill_sim.data.columns.families import FamilyColumn
from fedstill_sim.data.columns.names import NumberedNames
from fedstill_sim.data.fleet import DeviceRows, FleetData, FleetDataError
from fedstill_sim.data.splits import dirichlet_split, hold_out, resampled_rows

TEST_FRACTION = 0.25
DEFAULT_ALPHA = 0.5
FEWEST_EXAMPLES, MOST_EXAMPLES = 32, 64  # training examples of a resampled device
_FEWEST_IN_A_SPLIT = 8

Parts = tuple[list[IntArray], list[IntArray]]  # (train, test), one array of rows a device


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceSplit:
    """The devices of a fleet, and the rows of the examples that each of them owns.

    Attributes:
        names: The devices' names.
        train: The rows [n] that each device trains on.
        test: The rows [n] that each device is tested on.
        description: How the rows were split, in words.
    """

    names: Sequence[str]
    train: Sequence[IntArray] | DeviceRows
    test: Sequence[IntArray] | DeviceRows
    description: str

    @property
    def train_rows(self) -> DeviceRows:
        """What the devices train on, joined."""
        return self.train if isinstance(self.train, DeviceRows) else DeviceRows.of(self.train)

    @property
    def test_rows(self) -> DeviceRows:
        """What they are tested on, joined."""
        return self.test if isinstance(self.test, DeviceRows) else DeviceRows.of(self.test)


def device_names(devices: int) -> NumberedNames:
    """Name devices by number: device-0 to device-9, device-00 to device-49."""
    return NumberedNames(devices)


def split_pool(
    pool: IntArray,
    y: IntArray,
    *,
    classes: int,
    devices: int,
    alpha: float,
    seed: int,
    examples: int | None = None,
) -> DeviceSplit:
    """Split a pool over devices by Dirichlet(alpha) over classes.

    A fleet too large for 32 examples a device is resampled with replacement, and so is one whose devices are
    to have so many examples.

    Args:
        pool: The rows [n] to split.
        y: The labels of all rows.
        classes: How many classes there are.
        devices: How many devices there are.
        alpha: Skew: 0.1 is strong, 100 is hardly any.
        seed: Decides every random draw.
        examples: Training examples of each device; None is 32 to 64 where the pool is resampled.

    Raises:
        FleetDataError: alpha is not above 0, or the pool does not suffice.
    """
    names = device_names(devices)
    if examples is None and devices * FEWEST_EXAMPLES <= len(pool):
        train, test = _partition(pool, y, classes=classes, devices=devices, alpha=alpha, seed=seed)
        description = f"split by Dirichlet({alpha:g}) over classes"
        return DeviceSplit(names=names, train=train, test=test, description=description)
    fewest, most = (FEWEST_EXAMPLES, MOST_EXAMPLES) if examples is None else (examples, examples)
    drawn = _resample(
        pool, y, classes=classes, devices=devices, alpha=alpha, seed=seed, fewest=fewest, most=most
    )
    each = f"{fewest} to {most}" if fewest < most else f"{most}"
    description = (
        f"RESAMPLED WITH REPLACEMENT from {len(pool)} examples, {each} "
        f"training examples a device, classes by Dirichlet({alpha:g}); devices share training examples, none "
        "of which is in a test set"
    )
    return DeviceSplit(names=names, train=drawn[0], test=drawn[1], description=description)


def fleet_of_rows(
    x: FloatArray,
    y: IntArray,
    split: DeviceSplit,
    *,
    public: IntArray,
    name: str,
    description: str,
    classes: int,
    families: Sequence[str],
) -> FleetData:
    """Make a fleet of rows of x and y; the global test set is the test rows of all devices.

    Args:
        x: Examples [rows, *shape].
        y: Their labels [rows].
        split: The rows of each device.
        public: The rows of the public set.
        name: What reports call the data.
        description: A sentence on the data, for reports.
        classes: How many classes there are.
        families: Student families, which are dealt out to devices in turn.
    """
    train, test = split.train_rows, split.test_rows
    is_tested = np.zeros(len(x), np.bool_)
    is_tested[test.rows] = True
    everyones_test = np.flatnonzero(is_tested)
    return FleetData(
        name=name,
        description=description,
        classes=classes,
        device_names=split.names,
        families=FamilyColumn.in_turn(families, devices=len(split.names)),
        x=x,
        y=y,
        train=train,
        test=test,
        public_x=x[public],
        public_y=y[public],
        global_x=x[everyones_test],
        global_y=y[everyones_test],
    )


def hold_out_each(parts: Sequence[IntArray], *, seed: int, fraction: float = TEST_FRACTION) -> Parts:
    """Hold a quarter of each part out, or another share."""
    cut = [hold_out(part, fraction=fraction, seed=(seed, device)) for device, part in enumerate(parts)]
    return [train for train, _ in cut], [test for _, test in cut]


def _partition(pool: IntArray, y: IntArray, *, classes: int, devices: int, alpha: float, seed: int) -> Parts:
    parts = dirichlet_split(
        y[pool], classes=classes, devices=devices, alpha=alpha, min_examples=_FEWEST_IN_A_SPLIT, seed=seed
    )
    return hold_out_each([pool[part] for part in parts], seed=seed)


def _resample(
    pool: IntArray,
    y: IntArray,
    *,
    classes: int,
    devices: int,
    alpha: float,
    seed: int,
    fewest: int,
    most: int,
) -> tuple[DeviceRows, DeviceRows]:
    """Train and test are drawn from two disjoint pools, so no device is tested on what another trains on."""
    if not 0 < alpha < math.inf:
        raise FleetDataError(
            f"dirichlet: alpha must be above 0, not {alpha}; 0.1 is strongly skewed, 100 hardly"
        )
    pools = hold_out(pool, fraction=TEST_FRACTION, seed=(seed,))
    generator = np.random.default_rng(seed)
    mixtures = generator.dirichlet(np.full(classes, alpha), devices).astype(np.float32)
    train_counts = generator.integers(fewest, most, devices, endpoint=True)
    test_counts = np.round(train_counts * (TEST_FRACTION / (1 - TEST_FRACTION))).astype(np.int64)
    train, test = (
        DeviceRows.of_counts(
            resampled_rows(
                y[rows], mixtures=mixtures, counts=counts, seed=seed + 1 + index, among=rows.astype(np.int32)
            ),
            counts,
        )
        for index, (rows, counts) in enumerate(zip(pools, (train_counts, test_counts), strict=True))
    )
    return train, test
