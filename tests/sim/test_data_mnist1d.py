"""The MNIST-1D task."""

from __future__ import annotations

import numpy as np
import pytest
from fedstill_sim.data.fleet import FleetDataError
from fedstill_sim.data.mnist1d import PUBLIC_EXAMPLES, load_mnist1d


def test_a_fleet_of_generated_signals() -> None:
    # The generator seeds the process's random state, which must be left as it was.
    np.random.seed(7)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(7)  # noqa: NPY002
    data = load_mnist1d(devices=20, dirichlet=0.1, seed=3, families=("mlp-small", "cnn"))
    assert np.random.random() == expected  # noqa: NPY002

    assert data.x.shape == (5_000, 40)
    assert data.input_shape == (40,)
    assert np.bincount(data.y).tolist() == [500] * 10
    assert len(data.public_x) == PUBLIC_EXAMPLES
    owned = np.concatenate([data.train.rows, data.test.rows])
    assert sorted(owned) == list(range(PUBLIC_EXAMPLES, 5_000))
    assert len(data.global_x) == len(data.test.rows)
    assert data.families[:3] == ("mlp-small", "cnn", "mlp-small")
    assert "Dirichlet(0.1)" in data.description


def test_no_devices() -> None:
    with pytest.raises(FleetDataError, match="at least 1"):
        load_mnist1d(devices=0)
