"""FedAdam: moves whose step a person can work out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fedstill_proto.messages import Optimizer
from fedstill_server.config.fleet import ConfigError, TeacherConfig
from fedstill_server.config.run_options import RunOptions
from fedstill_server.consensus.aggregation import FamilySums, ParameterSum
from fedstill_server.methods.fedadam import FedAdam
from fedstill_server.resolve import FleetFacts, resolve
from fedstill_server.state import FleetState
from fedstill_server.tasks.text.task import TextTask

from tests.server.scripted_fleet import fleet_config, public_examples

FAMILY = "mlp-small"


def moved(values: list[float]) -> FamilySums:
    """The mean of one device."""
    return FamilySums({FAMILY: ParameterSum({"w": np.array(values, np.float32)}, 1.0)}, 1)


def test_a_small_move_is_as_long_a_step_as_a_large_one_until_it_ends() -> None:
    method = FedAdam(server_rate=0.01, last_rate=0.5).bind(
        fleet_config("fedadam", rounds=3), public_examples()
    )
    before = FleetState(teacher={}, students={FAMILY: {"w": np.array([1.0, 1.0, 1.0], np.float32)}})

    first = method.learn(before, moved([2.0, -0.02, 0.0]), round_number=1)
    assert first.students[FAMILY]["w"] == pytest.approx([1.01, 0.99, 1.0], abs=6e-4)

    # m' = .09 d / (1 - .81), v' = .0099 d^2 / (1 - .9801): 0.4737 d of 0.7053 d, at a rate of .0075.
    second = method.learn(first, moved([0.0, 0.0, 0.0]), round_number=2)
    steps = second.students[FAMILY]["w"] - first.students[FAMILY]["w"]
    assert steps == pytest.approx([0.0075 * 0.6716, -0.0075 * 0.6716, 0.0], abs=4e-4)


def test_adams_own_steps_on_devices_are_refused() -> None:
    config = fleet_config("fedadam")
    adamw = replace(config.training, optimizer=Optimizer.ADAMW)

    with pytest.raises(ConfigError, match="is not sgd or momentum"):
        FedAdam().check(replace(config, training=adamw))


def test_a_keyboards_devices_take_plain_steps_where_the_method_needs_them() -> None:
    facts = FleetFacts(
        run="0123abcd",
        task=TextTask(step_vocabulary=20, teacher_state_width=8),
        families=("gru-8-8",),
        classes=50,
        input_shape=(16,),
        public_rows=10,
        labelled=True,
        public_set="public.npz",
        test_set=None,
        teacher=TeacherConfig(),
    )

    of = {name: resolve(RunOptions(method=name), facts).training for name in ("fedadam", "fedavg")}
    assert (of["fedadam"].optimizer, of["fedadam"].learning_rate) == (Optimizer.SGD, 0.5)
    assert of["fedavg"].optimizer is Optimizer.ADAMW
