"""The digits task: 1,797 scans of handwritten digits, 8x8, that ship inside scikit-learn.

The rows are 14 handwriting forms one after another, one writer each. The first four writers are the public
set, the other ten are the private data: ten natural devices, or a pool for larger and more skewed fleets.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from fedstill_server.digits import CLASSES, FIRST_ROWS, digits_examples

from fedstill_sim.data.fleet import DataError, DeviceRows, FleetData, IntArray
from fedstill_sim.data.splits import dirichlet_split, hold_out, natural_split, resampled_split

PUBLIC_WRITERS = 4
TEST_FRACTION = 0.25
DEFAULT_ALPHA = 0.5
FEWEST_EXAMPLES, MOST_EXAMPLES = 32, 64  # of a resampled device, to train on
_FEWEST_IN_A_SPLIT = 8


def load_digits(
    *,
    devices: int = 10,
    dirichlet: float | None = None,
    seed: int = 0,
    families: Sequence[str] = ("mlp-small",),
) -> FleetData:
    """The digits fleet: up to ten devices are one writer each, more are shares of the writers' pool.

    dirichlet: skew over classes; None is natural writers where they suffice, else DEFAULT_ALPHA. A fleet too
    large for 32 examples a device is resampled with replacement. families are dealt out to devices in turn.
    """
    if devices < 1:
        raise DataError(f"digits: devices must be at least 1, not {devices}")
    x, y = digits_examples()
    writers = natural_split(FIRST_ROWS, len(x))
    public, private = np.concatenate(writers[:PUBLIC_WRITERS]), np.concatenate(writers[PUBLIC_WRITERS:])
    if dirichlet is None and devices <= len(writers) - PUBLIC_WRITERS:
        chosen = writers[PUBLIC_WRITERS : PUBLIC_WRITERS + devices]
        names = [f"writer-{PUBLIC_WRITERS + 1 + device:02d}" for device in range(devices)]
        train, test = _hold_out_each(chosen, seed=seed)
        how = "natural: a device is a writer"
    else:
        alpha = DEFAULT_ALPHA if dirichlet is None else dirichlet
        names = [f"device-{device:0{len(str(devices - 1))}d}" for device in range(devices)]
        if devices * FEWEST_EXAMPLES <= len(private):
            train, test = _partition(private, y, devices=devices, alpha=alpha, seed=seed)
            how = f"the pool of ten writers split by Dirichlet({alpha:g}) over classes"
        else:
            train, test = _resample(private, y, devices=devices, alpha=alpha, seed=seed)
            how = (
                f"RESAMPLED WITH REPLACEMENT from {len(private)} digits, {FEWEST_EXAMPLES} to "
                f"{MOST_EXAMPLES} training examples a device, classes by Dirichlet({alpha:g}); devices share "
                "training examples, none of which is in a test set"
            )
    everyones_test = np.unique(np.concatenate(test))
    return FleetData(
        name="digits",
        description=f"digits (scikit-learn), {devices} devices; {how}; public set: the first four writers",
        classes=CLASSES,
        device_names=tuple(names),
        families=("",) * devices,
        x=x,
        y=y,
        train=DeviceRows.of(train),
        test=DeviceRows.of(test),
        public_x=x[public],
        public_y=y[public],
        global_x=x[everyones_test],
        global_y=y[everyones_test],
    ).with_families(families)


Parts = tuple[list[IntArray], list[IntArray]]  # (train, test), one array of rows a device


def _hold_out_each(parts: Sequence[IntArray], *, seed: int) -> Parts:
    cut = [hold_out(part, fraction=TEST_FRACTION, seed=(seed, device)) for device, part in enumerate(parts)]
    return [train for train, _ in cut], [test for _, test in cut]


def _partition(private: IntArray, y: IntArray, *, devices: int, alpha: float, seed: int) -> Parts:
    parts = dirichlet_split(
        y[private], classes=CLASSES, devices=devices, alpha=alpha, min_examples=_FEWEST_IN_A_SPLIT, seed=seed
    )
    return _hold_out_each([private[part] for part in parts], seed=seed)


def _resample(private: IntArray, y: IntArray, *, devices: int, alpha: float, seed: int) -> Parts:
    """Train and test are drawn from two disjoint pools, so no device is tested on what another trains on."""
    if alpha <= 0:
        raise DataError(f"dirichlet: alpha must be above 0, not {alpha}; 0.1 is strongly skewed, 100 hardly")
    pools = hold_out(private, fraction=TEST_FRACTION, seed=(seed,))
    generator = np.random.default_rng(seed)
    mixtures = generator.dirichlet(np.full(CLASSES, alpha), devices).astype(np.float32)
    train_counts = generator.integers(FEWEST_EXAMPLES, MOST_EXAMPLES, devices, endpoint=True)
    test_counts = np.round(train_counts * (TEST_FRACTION / (1 - TEST_FRACTION))).astype(np.int64)
    parts = [
        [
            pool[part]
            for part in resampled_split(y[pool], mixtures=mixtures, counts=counts, seed=seed + 1 + index)
        ]
        for index, (pool, counts) in enumerate(zip(pools, (train_counts, test_counts), strict=True))
    ]
    return parts[0], parts[1]
