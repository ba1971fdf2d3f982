"""The digits task: 1,797 scans of handwritten digits, 8x8, that ship inside scikit-learn.

The rows are 14 handwriting forms one after another, one writer each. The first four writers are the public
set, the other ten are the private data: ten natural devices, or a pool for larger and more skewed fleets.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from fedstill_server.data.digits import CLASSES, FIRST_ROWS, digits_examples

from fedstill_sim.data.fleet import FleetData, FleetDataError
from fedstill_sim.data.pools import DEFAULT_ALPHA, DeviceSplit, fleet_of_rows, hold_out_each, split_pool
from fedstill_sim.data.splits import natural_split

PUBLIC_WRITERS = 4


def load_digits(
    *,
    devices: int = 10,
    dirichlet: float | None = None,
    seed: int = 0,
    families: Sequence[str] = ("mlp-small",),
    examples_per_device: int | None = None,
) -> FleetData:
    """Load the digits fleet: up to ten devices are one writer each, more are shares of the writers' pool.

    A fleet too large for 32 examples a device is resampled with replacement.

    Args:
        devices: How many devices there are.
        dirichlet: Skew over classes; None is natural writers where they suffice, else DEFAULT_ALPHA.
        seed: Decides every random draw.
        families: Student families, which are dealt out to devices in turn.
        examples_per_device: Training examples of each device, drawn from the pool with replacement.

    Raises:
        FleetDataError: There is no device, or the examples do not suffice.
    """
    if devices < 1:
        raise FleetDataError(f"digits: devices must be at least 1, not {devices}")
    x, y = digits_examples()
    writers = natural_split(FIRST_ROWS, len(x))
    public, private = np.concatenate(writers[:PUBLIC_WRITERS]), np.concatenate(writers[PUBLIC_WRITERS:])
    natural = dirichlet is None and examples_per_device is None
    if natural and devices <= len(writers) - PUBLIC_WRITERS:
        chosen = writers[PUBLIC_WRITERS : PUBLIC_WRITERS + devices]
        names = [f"writer-{PUBLIC_WRITERS + 1 + device:02d}" for device in range(devices)]
        train, test = hold_out_each(chosen, seed=seed)
        split = DeviceSplit(names=names, train=train, test=test, description="natural: a device is a writer")
        how = split.description
    else:
        alpha = DEFAULT_ALPHA if dirichlet is None else dirichlet
        split = split_pool(
            private,
            y,
            classes=CLASSES,
            devices=devices,
            alpha=alpha,
            seed=seed,
            examples=examples_per_device,
        )
        how = f"the pool of ten writers {split.description}"
    return fleet_of_rows(
        x,
        y,
        split,
        public=public,
        name="digits",
        description=f"digits (scikit-learn), {devices} devices; {how}; public set: the first four writers",
        classes=CLASSES,
        families=families,
    )
