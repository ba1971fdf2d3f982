"""The digits task: natural writers, skewed shares, and fleets larger than the data."""

import numpy as np
import pytest
import sklearn.datasets
from fedstill_server.data.digits import digits_examples
from fedstill_sim.data.digits import load_digits
from fedstill_sim.data.fleet import FleetDataError


def test_ten_devices_are_the_ten_private_writers() -> None:
    fleet = load_digits(devices=10)
    owned = fleet.train.counts + fleet.test.counts
    assert owned.tolist() == [130, 130, 130, 123, 128, 130, 128, 130, 122, 130]
    assert fleet.input_shape == (8, 8)
    assert fleet.device_names[0] == "writer-05"
    assert len(fleet.public_x) == 516
    assert len(fleet.global_x) == fleet.test.counts.sum()
    assert fleet.x.max() == 1.0


def test_no_private_example_is_public_and_no_test_example_is_trained_on() -> None:
    for fleet in (load_digits(), load_digits(devices=20, dirichlet=0.1), load_digits(devices=100)):
        train, test = set(fleet.train.rows.tolist()), set(fleet.test.rows.tolist())
        assert not train & test
        assert min(train | test) >= 516


def test_fewer_devices_are_the_first_writers() -> None:
    assert load_digits(devices=2).train[1].tolist() == load_digits(devices=10).train[1].tolist()


def test_a_dirichlet_split_shares_out_every_private_digit() -> None:
    fleet = load_digits(devices=20, dirichlet=0.1, seed=1)
    assert sorted([*fleet.train.rows, *fleet.test.rows]) == list(range(516, 1797))
    assert (fleet.train.counts + fleet.test.counts).min() >= 8
    assert "Dirichlet(0.1)" in fleet.description


def test_a_large_fleet_is_resampled_and_says_so() -> None:
    fleet = load_digits(devices=1000, seed=0)
    assert fleet.train.counts.min() == 32
    assert fleet.train.counts.max() == 64
    assert "RESAMPLED" in fleet.description
    assert len(fleet.global_x) == 320


def test_the_seed_decides_the_split() -> None:
    first, again, other = (load_digits(devices=20, dirichlet=0.5, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.train.rows, again.train.rows)
    assert not np.array_equal(first.train.offsets, other.train.offsets)


def test_examples_are_those_that_scikit_learn_gives() -> None:
    images, labels = sklearn.datasets.load_digits(return_X_y=True)
    x, y = digits_examples()
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x.reshape(-1, 64) * 16, images)
    np.testing.assert_array_equal(y, labels)


def test_no_devices_is_refused() -> None:
    with pytest.raises(FleetDataError, match="devices must be at least 1"):
        load_digits(devices=0)
