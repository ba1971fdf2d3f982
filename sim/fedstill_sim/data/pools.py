"""A pool of labelled examples dealt out to devices, with a quarter of each device's held out to test on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray

from fedstill_sim.data.fleet import DeviceRows, FleetData, FleetDataError
from fedstill_sim.data.splits import dirichlet_split, hold_out, resampled_split

TEST_FRACTION = 0.25
DEFAULT_ALPHA = 0.5
FEWEST_EXAMPLES, MOST_EXAMPLES = 32, 64  # of a resampled device, to train on
_FEWEST_IN_A_SPLIT = 8

Parts = tuple[list[IntArray], list[IntArray]]  # (train, test), one array of rows a device


def device_names(devices: int) -> list[str]:
    """device-0 to device-9, device-00 to device-49."""
    return [f"device-{device:0{len(str(devices - 1))}d}" for device in range(devices)]


def dealt_out(
    pool: IntArray, y: IntArray, *, classes: int, devices: int, alpha: float, seed: int
) -> tuple[list[IntArray], list[IntArray], str]:
    """Each device's rows of the pool, to train and to test on, and how they were dealt, in words.

    By Dirichlet(alpha) over classes; a fleet too large for 32 examples a device is resampled with
    replacement.
    """
    if devices * FEWEST_EXAMPLES <= len(pool):
        train, test = _partition(pool, y, classes=classes, devices=devices, alpha=alpha, seed=seed)
        return train, test, f"split by Dirichlet({alpha:g}) over classes"
    train, test = _resample(pool, y, classes=classes, devices=devices, alpha=alpha, seed=seed)
    how = (
        f"RESAMPLED WITH REPLACEMENT from {len(pool)} examples, {FEWEST_EXAMPLES} to {MOST_EXAMPLES} "
        f"training examples a device, classes by Dirichlet({alpha:g}); devices share training examples, none "
        "of which is in a test set"
    )
    return train, test, how


def fleet_of_rows(
    x: FloatArray,
    y: IntArray,
    *,
    name: str,
    description: str,
    classes: int,
    device_names: Sequence[str],
    train: Sequence[IntArray],
    test: Sequence[IntArray],
    public: IntArray,
    families: Sequence[str],
) -> FleetData:
    """The fleet whose devices and public set own these rows of x, y; everyone is tested on all test rows."""
    everyones_test = np.unique(np.concatenate(test))
    return FleetData(
        name=name,
        description=description,
        classes=classes,
        device_names=tuple(device_names),
        families=("",) * len(device_names),
        x=x,
        y=y,
        train=DeviceRows.of(train),
        test=DeviceRows.of(test),
        public_x=x[public],
        public_y=y[public],
        global_x=x[everyones_test],
        global_y=y[everyones_test],
    ).with_families(families)


def hold_out_each(parts: Sequence[IntArray], *, seed: int) -> Parts:
    """A quarter of each part held out."""
    cut = [hold_out(part, fraction=TEST_FRACTION, seed=(seed, device)) for device, part in enumerate(parts)]
    return [train for train, _ in cut], [test for _, test in cut]


def _partition(pool: IntArray, y: IntArray, *, classes: int, devices: int, alpha: float, seed: int) -> Parts:
    parts = dirichlet_split(
        y[pool], classes=classes, devices=devices, alpha=alpha, min_examples=_FEWEST_IN_A_SPLIT, seed=seed
    )
    return hold_out_each([pool[part] for part in parts], seed=seed)


def _resample(pool: IntArray, y: IntArray, *, classes: int, devices: int, alpha: float, seed: int) -> Parts:
    """Train and test are drawn from two disjoint pools, so no device is tested on what another trains on."""
    if alpha <= 0:
        raise FleetDataError(
            f"dirichlet: alpha must be above 0, not {alpha}; 0.1 is strongly skewed, 100 hardly"
        )
    pools = hold_out(pool, fraction=TEST_FRACTION, seed=(seed,))
    generator = np.random.default_rng(seed)
    mixtures = generator.dirichlet(np.full(classes, alpha), devices).astype(np.float32)
    train_counts = generator.integers(FEWEST_EXAMPLES, MOST_EXAMPLES, devices, endpoint=True)
    test_counts = np.round(train_counts * (TEST_FRACTION / (1 - TEST_FRACTION))).astype(np.int64)
    parts = [
        [
            rows[part]
            for part in resampled_split(y[rows], mixtures=mixtures, counts=counts, seed=seed + 1 + index)
        ]
        for index, (rows, counts) in enumerate(zip(pools, (train_counts, test_counts), strict=True))
    ]
    return parts[0], parts[1]
