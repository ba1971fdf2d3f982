"""A device whose examples and student are in an agent's home."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest
from fedstill_client.home import AgentHome
from fedstill_client.model.student_store import DeviceStoreError
from fedstill_client.rounds.device import FleetDevice
from fedstill_client.rounds.round import Interrupted
from fedstill_client.store import PrivateStore
from fedstill_proto.messages import Optimizer, RoundTask, SummaryKind, SummaryRequest, TrainingPlan
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec

from tests.client.agent_samples import OPEN, enrolled_home
from tests.client.samples import FAMILY, examples, student


def task(round: int = 1, *, epochs: int = 2, kind: SummaryKind = SummaryKind.PUBLIC_SET) -> RoundTask:
    return RoundTask(
        run="r1",
        round=round,
        family=FAMILY,
        training=TrainingPlan(
            epochs=epochs,
            batch_size=8,
            learning_rate=0.01,
            optimizer=Optimizer.ADAMW,
            temperature=2.0,
            soft_weight=0.0,
            seed=1,
        ),
        request=SummaryRequest(SummaryKind.PUBLIC_SET, SoftLabelCodec(Encoding.UINT8), np.arange(5))
        if kind is SummaryKind.PUBLIC_SET
        else SummaryRequest(kind),
        parameters=student(),
    )


@pytest.fixture
def home(tmp_path: Path) -> AgentHome:
    home = enrolled_home(tmp_path / "home")
    x, labels = examples(30, seed=1)
    with PrivateStore.open(home) as store:
        for row in range(len(x)):
            store.observe(x[row], labels[row])
    return home


def test_it_trains_on_the_store_s_examples_but_for_the_held_out(home: AgentHome) -> None:
    with FleetDevice.opened(home.folder) as device, PrivateStore.open(home) as store:
        assert int(device.private.counts[0]) == store.counts().training
        assert int(device.held_out.counts[0]) == store.counts().held_out > 0
        assert device.public_x is not None


def test_a_round_is_in_the_ledger_once_however_often_it_is_asked(home: AgentHome) -> None:
    with FleetDevice.opened(home.folder) as device:
        first = device.perform(task())
    with FleetDevice.opened(home.folder) as device:
        again = device.perform(task())

    assert first == again
    with PrivateStore.open(home) as store:
        releases = store.ledger.releases()
    assert [(one.run, one.round, one.kind, one.bytes) for one in releases] == [
        ("r1", 1, SummaryKind.PUBLIC_SET.value, len(first))
    ]
    assert releases[0].values == 5 * 3


def test_a_round_that_sends_nothing_of_the_device_costs_nothing(home: AgentHome) -> None:
    with FleetDevice.opened(home.folder) as device:
        device.perform(task(kind=SummaryKind.NONE))

    with PrivateStore.open(home) as store:
        assert store.ledger.releases() == []


def test_an_interrupted_round_leaves_the_student_and_can_be_done_later(home: AgentHome) -> None:
    with FleetDevice.opened(home.folder) as device:
        device.perform(task(1))
        before = device.store.latest()
    asked: list[float] = []

    def stop() -> str | None:
        asked.append(time.perf_counter())
        return "the device runs on its battery" if len(asked) > 50 else None

    with FleetDevice.opened(home.folder) as device:
        with pytest.raises(Interrupted, match="battery"):
            device.perform(task(2, epochs=100), stop=stop)
        kept = device.store.latest()
        assert before is not None
        assert kept is not None
        assert kept.round == 1
        for name, array in before.parameters.items():
            np.testing.assert_array_equal(kept.parameters[name], array)
        device.perform(dataclasses.replace(task(2), parameters={}))
        latest = device.store.latest()
    assert latest is not None
    assert latest.round == 2
    assert max(np.diff(asked)) < 1.0


def test_a_device_without_examples_can_be_asked(tmp_path: Path) -> None:
    home = enrolled_home(tmp_path / "home")

    with FleetDevice.opened(home.folder) as device:
        assert device.perform(task())


def test_the_counts_of_an_evaluation_are_in_the_ledger(home: AgentHome) -> None:
    with FleetDevice.opened(home.folder) as device:
        first = device.evaluate(task())
        again = device.evaluate(task())

    assert first.personal_correct == again.personal_correct
    with PrivateStore.open(home) as store:
        releases = store.ledger.releases()
    assert [(one.run, one.round, one.kind, one.values, one.bytes) for one in releases] == [
        ("r1", 1, "evaluation", 6, 48)
    ]


@pytest.mark.parametrize("part", ["perform", "evaluate"])
def test_answers_stop_as_well_as_training(home: AgentHome, part: str) -> None:
    training = task(epochs=1)
    with FleetDevice.opened(home.folder) as device:
        steps: list[str] = []
        device.perform(training, stop=lambda: steps.append("asked"))
        before = device.store.latest()
        late = iter(steps[:-1] if part == "perform" else ())  # the last time is before an answer

        def stop() -> str | None:
            return None if next(late, None) else "the lid is closed"

        with pytest.raises(Interrupted, match="lid"):
            getattr(device, part)(dataclasses.replace(training, round=2), stop=stop)
        kept = device.store.latest()

    assert before is not None
    assert kept is not None
    assert (kept.run, kept.round) == (before.run, before.round)


def test_a_round_that_waited_while_its_examples_were_forgotten_keeps_nothing(home: AgentHome) -> None:
    with FleetDevice.opened(home.folder) as device, PrivateStore.open(home) as store:
        store.forget(everything=True)

        with pytest.raises(DeviceStoreError, match="forgotten"):
            device.perform(task())

        assert device.store.latest() is None
        assert store.ledger.releases() == []


def test_more_work_than_fits_into_a_round_is_left_out_and_the_answer_does_not_say_so(
    home: AgentHome, caplog: pytest.LogCaptureFixture
) -> None:
    """To refuse it would tell how many examples there are."""
    caplog.set_level("INFO", "fedstill.device")
    asked: list[int] = []
    dataclasses.replace(OPEN, most_steps=10).write(home.folder)
    with FleetDevice.opened(home.folder) as device:
        count = int(device.private.counts[0])
        steps_an_epoch = -(-count // task().training.batch_size)
        device.perform(task(epochs=1_000_000), stop=lambda: asked.append(1))

    epochs = 10 // steps_an_epoch
    assert epochs >= 1
    assert f"{epochs} of 1000000 epochs of {count} examples fit in" in caplog.text
    assert epochs * steps_an_epoch <= len(asked) < 20


def test_what_was_said_is_forgotten_with_the_examples(tmp_path: Path) -> None:
    home = AgentHome(tmp_path / "home")
    home.create()
    with PrivateStore.create(home) as store:
        home.answers.mkdir()
        (home.answers / "one.answers").write_bytes(b"what a student said that learned from them")
        store.forget(everything=True)
    assert not home.answers.exists()
