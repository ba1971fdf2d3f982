"""A fleet whose teacher is a network of one's own: made for its fleet, or brought with weights."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from fedstill_proto.errors import FedstillError
from fedstill_server.config.fleet import TeacherConfig
from fedstill_server.methods import build_method
from fedstill_server.rounds.preparation import PreparationCache, prepare
from fedstill_server.state import FleetState, digest_of
from fedstill_server.tasks import training_of
from fedstill_server.teachers.registry import TEACHERS
from fedstill_server.training.networks import accuracy_of, load_parameters, state_of
from torch import Tensor, nn

from tests.server.scripted_fleet import fleet_config, public_examples

LEARNING = TeacherConfig(epochs=40, student_epochs=40, round_epochs=2, batch_size=6, learning_rate=0.03)


class NormedNet(nn.Module):
    """A perceptron that keeps running means, and forgets a part of what it sees while it learns."""

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        inputs = math.prod(input_shape)
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(inputs, 16),
            nn.BatchNorm1d(16),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(16, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits


@pytest.fixture(autouse=True)
def teachers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(TEACHERS, "_registered", {})


def prepared(**teacher: Any) -> FleetState:
    config, public = config_with(**teacher), public_examples()
    return prepare(config, public, build_method(config, public))


def config_with(**teacher: Any) -> Any:
    return fleet_config(teacher=dataclasses.replace(LEARNING, **teacher))


def made() -> NormedNet:
    torch.manual_seed(3)
    config = fleet_config()
    return NormedNet(config.input_shape, config.classes)


def test_a_teacher_is_made_for_its_fleet_and_learns() -> None:
    name = "tests.server.test_teacher_own:NormedNet"
    state, public = prepared(network=name), public_examples()
    assert digest_of(state.teacher) == digest_of(prepared(network=name).teacher)
    assert "layers.2.running_mean" in state.teacher
    teacher = training_of(config_with(network=name)).teacher(state.teacher)
    assert public.y is not None
    assert accuracy_of(teacher, public.x, public.y) == 1


def test_a_round_goes_on_from_what_the_teacher_keeps() -> None:
    TEACHERS.register("normed", NormedNet)
    config, public, state = config_with(network="normed"), public_examples(), prepared(network="normed")
    training = training_of(config)
    soft_labels = training.soft_labels(training.teacher(state.teacher), public, temperature=2)
    learned = training.teacher_learns(state.teacher, public, soft_labels, round_number=1)
    assert learned.keys() == state.teacher.keys()
    assert not np.array_equal(learned["layers.2.running_mean"], state.teacher["layers.2.running_mean"])
    again = training.teacher_learns(state.teacher, public, soft_labels, round_number=1)
    assert digest_of(learned) == digest_of(again)


def test_a_teacher_that_is_trained_learns_no_labels_before_the_first_round() -> None:
    network = made()
    before = digest_of(state_of(network))
    TEACHERS.register("mine", network)
    assert digest_of(prepared(network="mine", trained=True).teacher) == before
    assert digest_of(prepared(network="mine").teacher) != before
    assert digest_of(state_of(network)) == before, "a copy learns, and not the network that was given"


def test_another_object_takes_the_place_of_the_old_one_unless_its_weights_matter() -> None:
    network, other = made(), made()
    load_parameters(other, {name: value + 1 for name, value in state_of(network).items()})
    TEACHERS.register("mine", network)
    digest = digest_of(state_of(network))
    assert prepared(network="mine", digest=digest, trained=True)
    TEACHERS.register("mine", other)
    with pytest.raises(FedstillError, match="mine: its weights are not those that the run was started with"):
        prepared(network="mine", digest=digest, trained=True)


def test_what_depends_on_own_code_is_prepared_anew() -> None:
    cache, public = PreparationCache(), public_examples()
    TEACHERS.register("mine", made())
    config = config_with(network="mine", trained=True)
    first = cache.prepare(config, public, build_method(config, public))
    TEACHERS.register(
        "mine", load_parameters(made(), {name: value * 2 for name, value in first.teacher.items()})
    )
    second = cache.prepare(config, public, build_method(config, public))
    assert digest_of(first.teacher) != digest_of(second.teacher)


class Estimator:
    classes_ = (0, 1)

    def predict_proba(self, x: Any) -> Any: ...


def test_a_name_that_is_not_there_is_refused_with_the_configuration() -> None:
    with pytest.raises(FedstillError, match="network: 'mine' is unknown"):
        config_with(network="mine")


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (Estimator(), "a Estimator, which cannot learn; let it teach as it is"),
        (nn.Linear(3, 2), "teacher: mine, of examples"),
        (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(7)), r"it answers \(2, 7\)"),
        (lambda width: nn.Linear(width, 2), "it needs width"),
    ],
)
def test_what_cannot_teach_a_fleet_is_refused(teacher: object, message: str) -> None:
    TEACHERS.register("mine", teacher)
    with pytest.raises(FedstillError, match=message):
        prepared(network="mine")
