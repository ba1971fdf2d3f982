"""The MNIST-1D task: 5,000 signals of 40 samples in ten classes, generated offline (Greydanus and Kobak 2020,
arXiv:2011.14439; the package mnist1d).

It tells students apart that all do well on digits. The generator's own order is random: the first 1,000
examples are the public set, the other 4,000 the pool of private data.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray

from fedstill_sim.data.fleet import FleetData, FleetDataError
from fedstill_sim.data.pools import DEFAULT_ALPHA, fleet_of_rows, split_pool

CLASSES = 10
PUBLIC_EXAMPLES = 1_000


def mnist1d_examples() -> tuple[FloatArray, IntArray]:
    """Generate all examples: x float32 [5000, 40] of mean 0 and variance 1, y int64 [5000].

    They are the same at each call.

    Raises:
        FleetDataError: The package that generates them is not installed.
    """
    try:
        from mnist1d.data import make_dataset
    except ImportError as error:
        raise FleetDataError(
            f"mnist1d: the package that generates it is not installed ({error}); pip install 'fedstill[sim]'"
        ) from error
    with _own_random_state():  # the generator seeds the process's
        made = make_dataset()
    x = np.concatenate([made["x"], made["x_test"]]).astype(np.float32)
    return x, np.concatenate([made["y"], made["y_test"]]).astype(np.int64)


def load_mnist1d(
    *,
    devices: int = 10,
    dirichlet: float | None = None,
    seed: int = 0,
    families: Sequence[str] = ("mlp-small",),
    examples_per_device: int | None = None,
) -> FleetData:
    """Load the MNIST-1D fleet: shares of the private pool, by Dirichlet over classes.

    Args:
        devices: How many devices there are.
        dirichlet: Skew over classes; None is DEFAULT_ALPHA.
        seed: Decides every random draw.
        families: Student families, which are dealt out to devices in turn.
        examples_per_device: Training examples of each device, drawn from the pool with replacement.

    Raises:
        FleetDataError: There is no device, or the examples do not suffice.
    """
    if devices < 1:
        raise FleetDataError(f"mnist1d: devices must be at least 1, not {devices}")
    x, y = mnist1d_examples()
    public, private = np.split(np.arange(len(x)), [PUBLIC_EXAMPLES])
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
    return fleet_of_rows(
        x,
        y,
        split,
        public=public,
        name="mnist1d",
        description=f"MNIST-1D (generated), {devices} devices; the pool {split.description}; public set: "
        "1,000 others",
        classes=CLASSES,
        families=families,
    )


@contextmanager
def _own_random_state() -> Iterator[None]:
    numbers, words = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(numbers)  # noqa: NPY002
        random.setstate(words)
