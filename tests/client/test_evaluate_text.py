"""Right answers of a student of text: its next words, at all places."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fedstill_client.home import AgentHome
from fedstill_client.model.forward import Forward
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.packages.install import install
from fedstill_client.privacy.policy import DevicePolicy
from fedstill_client.rounds.device import FleetDevice
from fedstill_client.rounds.round import DeviceStack, evaluate
from fedstill_client.store import PrivateStore
from fedstill_proto.arrays import Parameters
from fedstill_proto.messages import Optimizer, RoundTask, SummaryKind, SummaryRequest, TrainingPlan

from tests.client.bigram import PLACES, TABLE, WIDTH, WORDS, bigram_artifact, bigram_package


def echo() -> Parameters:
    """A student that says words 0 to 3 again, whatever else it does."""
    table = np.zeros((WORDS, WIDTH), np.float32)
    table[:WIDTH] = np.eye(WIDTH)
    return {TABLE: table}


def round_task() -> RoundTask:
    plan = TrainingPlan(1, 4, 0.1, Optimizer.SGD, 1.0, 0.0, seed=0)
    request = SummaryRequest(SummaryKind.NONE)
    return RoundTask("r1", 1, "bigram", plan, request, parameters=echo(), replace_student=True)


# Of its 3 places each: 3, 2 and 0 right.
X = np.array([[0, 1, 2], [3, 0, 1], [2, 2, 3]])
LABELS = np.array([[0, 1, 2], [3, 0, 3], [1, 1, 1]])


@pytest.mark.parametrize("values_at_once", [1 << 22, 1, 2 * PLACES * WORDS])
def test_right_next_words_at_all_places(monkeypatch: pytest.MonkeyPatch, values_at_once: int) -> None:
    monkeypatch.setattr("fedstill_client.model.accuracy._VALUES_AT_ONCE", values_at_once)
    stack = DeviceStack(["phone"], PrivateStack.of_one(X, LABELS))

    counted = evaluate(
        stack,
        round_task(),
        Forward(bigram_artifact()),
        personal_test=PrivateStack.of_one(X, LABELS),
        global_test=(X[:2], LABELS[:2]),
    )

    assert [int(count[0]) for count in vars(counted).values()] == [5, 9, 5, 6, 5, 5]


def test_what_is_padding_counts_for_nothing() -> None:
    padded = PrivateStack(X[None], LABELS[None], np.array([1]))

    counted = evaluate(
        DeviceStack(["phone"], padded), round_task(), Forward(bigram_artifact()), personal_test=padded
    )

    assert (counted.personal_correct[0], counted.personal_examples[0]) == (3, 3)


def test_an_agent_s_home_is_measured(tmp_path: Path) -> None:
    home = AgentHome(tmp_path / "home")
    home.create()
    DevicePolicy().allowing(["plain", "task"]).write(home.folder)
    home.description.write_text(json.dumps({"name": "phone", "family": "bigram"}))
    with PrivateStore.create(home) as store:
        install(home, store, bigram_package(version=1, words=WORDS, places=PLACES, step_size=20))
        store.observe_all(zip(X, LABELS, strict=True), held_out=True)

    with FleetDevice.opened(home.folder) as device:
        counted = device.evaluate(round_task())

    assert (counted.personal_correct[0], counted.personal_examples[0]) == (5, 9)
