"""A server that chooses the student which a device starts from reads the device's digits."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from fedstill_client.model.forward import Forward
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.model.trainer import Personalizer
from fedstill_client.rounds.round import DeviceStack, perform_round
from fedstill_proto.arrays import Float64Array
from fedstill_proto.codec.api import Expected, decode_summary
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import Optimizer, PrivateStatistics, RoundTask
from fedstill_server.export.build import ArtifactOptions, build_artifact
from fedstill_server.families import initial_parameters
from fedstill_sim.audit.found_examples import FoundExamples, compare_found
from fedstill_sim.audit.inversion import Inversion, TaskRange
from fedstill_sim.audit.obedient_device import ObedientDevice
from fedstill_sim.audit.traps import from_parameters, from_soft_labels
from fedstill_sim.data.digits import load_digits
from fedstill_sim.data.fleet import FleetData

PRIVATE = 12
OPTIONS = ArtifactOptions(
    family="mlp-small",
    input_shape=(8, 8),
    classes=10,
    optimizer=Optimizer.MOMENTUM,
    soft_labels="dense",
    stack_size=1,
    step_rows=32,
)


@functools.cache
def fleet() -> FleetData:
    return load_digits(devices=1)


def device(family: str = "mlp-small") -> ObedientDevice:
    """A device with a writer's first digits."""
    data = fleet()
    rows = data.train[0][:PRIVATE]
    artifact = build_artifact(replace(OPTIONS, family=family), verify=False)
    return ObedientDevice(artifact, data.x[rows], data.y[rows], public_x=data.public_x)


def compare_with_digits(candidates: Float64Array) -> FoundExamples:
    data = fleet()
    rows = data.train[0][:PRIVATE]
    return compare_found(candidates, data.x[rows], data.y[rows], data.public_x)


def test_traps_read_every_digit_out_of_parameters() -> None:
    attacked = device()
    candidates = from_parameters(attacked, tasks=6, seed=0)
    found = compare_with_digits(candidates)
    assert (found.error <= 1 / 32).all()
    assert attacked.tasks <= 6


def test_traps_read_most_digits_out_of_soft_labels() -> None:
    attacked = device()
    candidates = from_soft_labels(attacked, tasks=60, seed=0)
    found = compare_with_digits(candidates)
    assert (found.found > 0.99).sum() >= PRIVATE // 2
    assert attacked.tasks == 60


def test_traps_need_a_perceptron() -> None:
    with pytest.raises(FedstillError, match="one hidden layer, and 'mlp-16-8' is none"):
        from_parameters(device("mlp-16-8"), tasks=1, seed=0)


def test_a_candidate_is_held_against_each_private_example() -> None:
    private = np.eye(4, dtype=np.float32)[:2].reshape(2, 2, 2)
    public = np.array([[[1, 1], [0, 0]]], np.float32)  # correlates by 1/sqrt(3) with both
    found = compare_found(np.array([[1.0, 0, 0, 0]]), private, np.array([3, 3]), public)
    np.testing.assert_allclose(found.found, [1, -1 / 3])
    np.testing.assert_allclose(found.public, [3**-0.5] * 2)
    np.testing.assert_allclose(found.others, [-1 / 3] * 2)
    np.testing.assert_allclose(found.error, [0, 1])
    assert found.above.tolist() == [True, False]


def test_without_a_candidate_nothing_is_found() -> None:
    private = np.eye(4, dtype=np.float32).reshape(4, 2, 2)
    assert not compare_found(np.zeros((0, 4)), private, np.arange(4), private[:1]).above.any()


def test_a_server_that_sends_no_weights_searches_for_the_digits_behind_its_answers() -> None:
    """Few tasks and steps: what is found comes nearer to the digits than where the search begins."""
    data, rows = fleet(), fleet().train[0][:PRIVATE]
    artifact = build_artifact(OPTIONS, verify=False)
    installed = initial_parameters("mlp-small", (8, 8), 10, 0)
    attack = Inversion(
        artifact,
        installed,
        public_x=data.public_x,
        device="device",
        labels=data.y[rows],
        asks=TaskRange(start_epochs=2, epochs=1),
    )
    personalizer, forward = Personalizer(artifact), Forward(artifact)

    def answer(task: RoundTask) -> PrivateStatistics:
        stack = DeviceStack(["device"], PrivateStack.of_one(data.x[rows], data.y[rows]), installed=installed)
        (summary,) = perform_round(stack, task, personalizer, forward, data.public_x).summaries
        assert summary is not None
        return decode_summary(summary, expected=Expected.of(task, 10)).statistics

    for number in range(1, 33):
        attack.ask(answer, number=number)
    before, after = (compare_with_digits(attack.found(steps=steps)) for steps in (1, 400))
    assert attack.tasks == 32
    assert np.median(before.found) < 0.75 < np.median(after.found)
    assert after.above.sum() >= 3
