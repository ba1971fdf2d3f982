"""The student that a round starts from, made on the device from soft labels of public rows."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from fedstill_client.device_description import DeviceError
from fedstill_client.model.forward import Forward
from fedstill_client.model.order import uniform
from fedstill_client.model.trainer import Personalizer
from fedstill_client.rounds import device
from fedstill_client.rounds.device import INSTALLED_FILE, FleetDevice
from fedstill_client.rounds.distilled_start import distilled_start
from fedstill_client.rounds.round import (
    DeviceStack,
    Interrupted,
    NoStudent,
    RoundOptions,
    TrainingDiverged,
    perform_round,
    starting_student,
)
from fedstill_proto.arrays import Parameters
from fedstill_proto.messages import (
    PublicSoftLabels,
    RoundTask,
    StartPlan,
    StartSource,
    SummaryKind,
    SummaryRequest,
)
from fedstill_proto.package.artifact import encode_parameters
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels

from tests.client.samples import (
    artifact,
    examples,
    mlp_logits,
    plan,
    soft_rows,
    softmax,
    stack_of,
    student,
    write_device,
)
from tests.client.samples import task as plain_task

ROWS = 12
PUBLIC = examples(ROWS, seed=3)[0]
TAUGHT = PublicSoftLabels(np.arange(ROWS), DenseSoftLabels(soft_rows(ROWS)))
ANSWERS = SummaryRequest(
    SummaryKind.PUBLIC_SET, SoftLabelCodec(Encoding.FLOAT32), np.arange(ROWS), relative=True
)


def task(source: StartSource = StartSource.INSTALLED, *, epochs: int = 20, noise: float = 0.0) -> RoundTask:
    start = StartPlan(source=source, epochs=epochs, learning_rate=0.3, input_noise=noise)
    asked = plain_task(plan(epochs=2, soft_weight=0.5), request=ANSWERS, parameters={}, soft_targets=TAUGHT)
    return dataclasses.replace(asked, start=start)


def stack(*sizes: int, own: Parameters | None = None) -> DeviceStack:
    names = [f"device-{place}" for place in range(len(sizes))]
    return DeviceStack(names, stack_of(*sizes), own, installed=student(4))


def divergence(parameters: Parameters) -> float:
    """The mean KL of the taught soft labels to the student's, at the temperature of the plan."""
    said, taught = softmax(mlp_logits(parameters, PUBLIC) / 2.0), TAUGHT.soft_labels.dense()
    return float((taught * np.log(taught / said)).sum(axis=1).mean())


def test_a_start_has_learned_the_soft_labels() -> None:
    made = distilled_start(student(4), task(epochs=200), Personalizer(artifact()), PUBLIC)

    assert divergence({name: array[0] for name, array in made.items()}) < divergence(student(4)) / 4


def test_all_devices_make_the_same_start_alone_or_in_a_stack() -> None:
    together = distilled_start(student(4), task(noise=0.1), Personalizer(artifact(stack_size=3)), PUBLIC)
    alone = distilled_start(student(4), task(noise=0.1), Personalizer(artifact()), PUBLIC)

    for name, array in alone.items():
        for place in range(3):
            np.testing.assert_array_equal(together[name][place], array[0], err_msg=name)


def test_the_installed_student_is_where_a_round_starts_whatever_the_device_has() -> None:
    fresh, trained = stack(8), stack(8, own={name: array[None] for name, array in student(9).items()})

    assert starting_student(fresh, task(), artifact().manifest) is fresh.installed
    assert starting_student(trained, task(), artifact().manifest) is trained.installed


def test_an_own_start_is_the_device_s_and_the_package_s_where_it_has_none() -> None:
    own = {name: array[None] for name, array in student(9).items()}

    assert starting_student(stack(8, own=own), task(StartSource.OWN), artifact().manifest) is own
    newcomer = stack(8)
    assert starting_student(newcomer, task(StartSource.OWN), artifact().manifest) is newcomer.installed


def test_without_a_package_there_is_no_start() -> None:
    with pytest.raises(NoStudent, match="of this device's package, and it has none"):
        starting_student(DeviceStack(["a"], stack_of(3)), task(), artifact().manifest)


def test_a_round_from_an_own_start_is_the_round_from_the_same_weights() -> None:
    """The task of an earlier release, with the weights that the device now makes by itself."""
    personalizer, forward, asked = Personalizer(artifact()), Forward(artifact()), task()
    made = distilled_start(student(4), asked, personalizer, PUBLIC)
    weights = {name: array[0] for name, array in made.items()}
    brought = dataclasses.replace(asked, start=None, parameters=weights, replace_student=True)

    own = perform_round(stack(8), asked, personalizer, forward, PUBLIC)
    given = perform_round(stack(8), brought, personalizer, forward, PUBLIC)

    assert own.summaries == given.summaries
    for name, array in given.parameters.items():
        np.testing.assert_array_equal(own.parameters[name], array)


def test_devices_without_private_examples_answer_that_nothing_moved_but_by_the_soft_labels() -> None:
    asked = dataclasses.replace(task(), training=plan(epochs=0))

    work = perform_round(stack(0), asked, Personalizer(artifact()), Forward(artifact()), PUBLIC)

    made = distilled_start(student(4), asked, Personalizer(artifact()), PUBLIC)
    for name, array in made.items():
        np.testing.assert_array_equal(work.parameters[name], array)


def test_a_start_that_diverges_ends_the_round() -> None:
    wild = StartPlan(source=StartSource.INSTALLED, epochs=50, learning_rate=1e6)

    with pytest.raises(TrainingDiverged, match=r"learning rate 1e\+06"):
        perform_round(
            stack(8),
            dataclasses.replace(task(), start=wild),
            Personalizer(artifact()),
            Forward(artifact()),
            PUBLIC,
        )


def test_a_start_stops_where_training_would() -> None:
    with pytest.raises(Interrupted, match="the battery is low"):
        perform_round(
            stack(8),
            task(),
            Personalizer(artifact()),
            Forward(artifact()),
            PUBLIC,
            options=RoundOptions(stop=lambda: "the battery is low"),
        )


def test_noise_is_uniform_and_its_own_in_each_step() -> None:
    drawn, other = uniform(20_000, seed=1, step=0), uniform(20_000, seed=1, step=1)

    assert (drawn >= 0).all()
    assert (drawn < 1).all()
    assert drawn.mean() == pytest.approx(0.5, abs=0.01)
    assert drawn.std() == pytest.approx(12**-0.5, abs=0.01)
    assert abs(np.corrcoef(drawn, other)[0, 1]) < 0.03


class TestDeviceFolder:
    """A plain folder has the student of its package in a file."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = write_device(tmp_path / "device", artifact())
        (folder / INSTALLED_FILE).write_bytes(encode_parameters(student(4)))
        return folder

    def test_a_round_needs_no_weights_from_the_server_and_repeats(self, folder: Path) -> None:
        answer = FleetDevice.open(folder).perform(task())

        assert FleetDevice.open(folder).perform(task()) == answer
        own = FleetDevice.open(folder).store.latest()
        assert own is not None
        assert not np.array_equal(own.parameters["output.bias"], student(4)["output.bias"])

    def test_evaluation_of_a_newcomer_is_of_its_package(self, folder: Path) -> None:
        asked = task(StartSource.OWN, epochs=0)

        counts = FleetDevice.open(folder).evaluate(asked)

        given = dataclasses.replace(asked, start=None, parameters=student(4))
        assert counts.global_correct == FleetDevice.open(folder).evaluate(given).global_correct

    def test_a_start_of_too_many_steps_is_refused(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(device, "PLAN_LIMIT", 10_000)

        with pytest.raises(
            DeviceError, match="start asks for 26 epochs of 12 public rows; a device takes 25"
        ):
            FleetDevice.open(folder).perform(task(epochs=26))

    def test_a_damaged_student_is_named(self, folder: Path) -> None:
        (folder / INSTALLED_FILE).write_bytes(b"nothing")

        with pytest.raises(Exception, match=INSTALLED_FILE):
            FleetDevice.open(folder)
