"""The arithmetic of a round, counted in the student's own graph: numbers that a person can check."""

import dataclasses

import numpy as np
import pytest
from fedstill_proto.messages import Optimizer
from fedstill_server.export import ArtifactOptions, build_artifact
from fedstill_sim.traces.work import RoundArithmetic, forward_gflop

from tests.server.scripted_fleet import fleet_config


@pytest.mark.parametrize("stack", [1, 4])
def test_a_forward_pass_is_counted_whatever_the_stack(stack: int) -> None:
    """8 x 8: 8 channels of 3 x 3; pooled to 4 x 4: 16 channels of 8 x 3 x 3; pooled to 2 x 2: 64 to 10."""
    options = ArtifactOptions(
        family="cnn",
        input_shape=(8, 8),
        classes=10,
        optimizer=Optimizer.MOMENTUM,
        soft_labels="none",
        stack_size=stack,
        step_rows=16,
    )
    convolutions = 8 * 8 * 8 * 9 + 16 * 4 * 4 * 8 * 9
    flop = 1e9 * forward_gflop(build_artifact(options, verify=False))
    assert flop == pytest.approx(2 * (convolutions + 64 * 10))


def test_a_round_is_steps_and_answers() -> None:
    """20 examples in batches of 16 are 2 steps an epoch; a step is three passes, private and public."""
    fleet = fleet_config("class-logits")
    plan = dataclasses.replace(fleet.training, batch_size=16, epochs=5, soft_weight=0.5)
    fleet = dataclasses.replace(fleet, training=plan, public_batch=0)
    work = RoundArithmetic.of(np.array([1e-6]), np.array([20]), fleet, public=100)
    assert work.training == pytest.approx(1e-6 * 3 * 2 * 5 * 16 * 2)
    assert work.answering == pytest.approx(1e-6 * 100)
    assert work.total == pytest.approx(work.training + work.answering)
