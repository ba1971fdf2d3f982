"""A server that chooses the student which a device starts from reads the device's digits."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import Optimizer
from fedstill_server.export.build import ArtifactOptions, build_artifact
from fedstill_sim.audit.found_examples import compare_found
from fedstill_sim.audit.obedient_device import ObedientDevice
from fedstill_sim.audit.traps import from_parameters, from_soft_labels
from fedstill_sim.data.digits import load_digits
from fedstill_sim.data.fleet import FleetData

PRIVATE = 12


@functools.cache
def fleet() -> FleetData:
    return load_digits(devices=1)


def device(family: str = "mlp-small") -> ObedientDevice:
    """A device with a writer's first digits."""
    data = fleet()
    rows = data.train[0][:PRIVATE]
    options = ArtifactOptions(
        family=family,
        input_shape=(8, 8),
        classes=10,
        optimizer=Optimizer.MOMENTUM,
        soft_labels="dense",
        stack_size=1,
        step_rows=32,
    )
    artifact = build_artifact(options, verify=False)
    return ObedientDevice(artifact, data.x[rows], data.y[rows], public_x=data.public_x)


def test_traps_read_every_digit_out_of_parameters() -> None:
    data, attacked = fleet(), device()
    candidates = from_parameters(attacked, tasks=6, seed=0)
    found = compare_found(candidates, data.x[data.train[0][:PRIVATE]], data.public_x)
    assert (found.error <= 1 / 32).all()
    assert attacked.tasks <= 6


def test_traps_read_most_digits_out_of_soft_labels() -> None:
    data, attacked = fleet(), device()
    candidates = from_soft_labels(attacked, tasks=60, seed=0)
    found = compare_found(candidates, data.x[data.train[0][:PRIVATE]], data.public_x)
    assert (found.found > 0.99).sum() >= PRIVATE // 2
    assert attacked.tasks == 60


def test_traps_need_a_perceptron() -> None:
    with pytest.raises(FedstillError, match="one hidden layer, and 'mlp-16-8' is none"):
        from_parameters(device("mlp-16-8"), tasks=1, seed=0)


def test_a_candidate_is_held_against_each_private_example() -> None:
    private = np.eye(4, dtype=np.float32)[:2].reshape(2, 2, 2)
    public = np.array([[[1, 1], [0, 0]]], np.float32)  # correlates by 1/sqrt(3) with both
    found = compare_found(np.array([[1.0, 0, 0, 0]]), private, public)
    np.testing.assert_allclose(found.found, [1, -1 / 3])
    np.testing.assert_allclose(found.public, [3**-0.5] * 2)
    np.testing.assert_allclose(found.error, [0, 1])
    assert found.above.tolist() == [True, False]


def test_without_a_candidate_nothing_is_found() -> None:
    private = np.eye(4, dtype=np.float32).reshape(4, 2, 2)
    assert not compare_found(np.zeros((0, 4)), private, private[:1]).above.any()
