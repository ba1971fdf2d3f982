"""Parameters that stay on a device: which it starts from, what it answers, and from round to round."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from fedstill_client.model.forward import Forward
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.model.student_shapes import StudentMismatch
from fedstill_client.model.trainer import Personalizer
from fedstill_client.rounds.device import FleetDevice
from fedstill_client.rounds.round import DeviceStack, NoStudent, perform_round, starting_student
from fedstill_proto.arrays import Parameters
from fedstill_proto.codec.api import Expected, decode_summary, decode_task, encode_task
from fedstill_proto.messages import Optimizer, RoundTask, SummaryKind, SummaryRequest
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec

from tests.client.samples import CLASSES, artifact, examples, plan, stack_of, student, task, write_device

HEAD, BODY = ("output.weight", "output.bias"), ("hidden.weight", "hidden.bias")
MANIFEST = artifact().manifest


def asked(seed: int, *, round: int = 1, names: tuple[str, ...] = BODY, epochs: int = 1) -> RoundTask:
    """Brings the parameters of these names; the head stays."""
    training = dataclasses.replace(plan(epochs=epochs), local_parameters=HEAD)
    made = task(
        training,
        round=round,
        request=SummaryRequest(SummaryKind.PARAMETERS),
        parameters={name: student(seed)[name] for name in names},
        replace_student=True,
    )
    return decode_task(encode_task(made, codec=SoftLabelCodec(Encoding.FLOAT32)))


def own(*seeds: int) -> Parameters:
    return {name: np.stack([student(seed)[name] for seed in seeds]) for name in student()}


def test_the_body_is_the_tasks_and_the_head_its_own() -> None:
    stack = DeviceStack(["a", "b"], stack_of(3, 3), own(1, 2), installed=student(3))
    start = starting_student(stack, asked(4), MANIFEST)
    for name in BODY:
        np.testing.assert_array_equal(start[name], student(4)[name])
    for name in HEAD:
        np.testing.assert_array_equal(start[name], [student(1)[name], student(2)[name]])


def test_a_newcomers_head_is_the_tasks_or_that_of_its_package() -> None:
    private = stack_of(3)
    brought = starting_student(DeviceStack(["a"], private, own(1)), asked(4, names=BODY + HEAD), MANIFEST)
    packaged = starting_student(DeviceStack(["a"], private, installed=student(3)), asked(4), MANIFEST)
    for name in HEAD:
        np.testing.assert_array_equal(brought[name], student(4)[name])
        np.testing.assert_array_equal(packaged[name], student(3)[name])
    with pytest.raises(NoStudent, match=r"without output\.weight, output\.bias"):
        starting_student(DeviceStack(["a"], private), asked(4), MANIFEST)
    with pytest.raises(StudentMismatch, match=r"hidden\.bias.*it is missing"):
        starting_student(DeviceStack(["a"], private, own(1)), asked(4, names=BODY[:1]), MANIFEST)


def test_the_head_learns_first_and_then_the_body() -> None:
    # 4 examples are one step an epoch, and 8 are two: the head learns in three of each device's five epochs.
    built, private = artifact(stack_size=2, optimizer=Optimizer.MOMENTUM), stack_of(4, 8)

    def trained(epochs: int, local_epochs: int) -> Parameters:
        training = plan(epochs=epochs, optimizer=Optimizer.MOMENTUM)
        local = HEAD if local_epochs else ()
        training = dataclasses.replace(training, local_parameters=local, local_epochs=local_epochs)
        stack, round_task = DeviceStack(["a", "b"], private), task(training)
        return perform_round(stack, round_task, Personalizer(built), Forward(built)).parameters

    first, whole = trained(3, 3), trained(5, 3)
    for name in HEAD:  # in the last two it is held
        np.testing.assert_array_equal(whole[name], first[name])
        assert not np.array_equal(first[name][0], student()[name])
    for name in BODY:
        np.testing.assert_array_equal(first[name], [student()[name]] * 2)
        assert not np.array_equal(whole[name][1], student()[name])
    together, alone = trained(1, 0), trained(1, 1)
    for name in HEAD:  # the gradient of the first step is the same, whatever is held
        np.testing.assert_array_equal(alone[name][0], together[name][0])


def test_a_device_answers_its_body_and_goes_on_with_its_head(tmp_path: Path) -> None:
    device = FleetDevice.open(write_device(tmp_path / "device", artifact()))
    x, labels = examples(20, seed=1)
    private = PrivateStack(np.stack([x, -x]), np.stack([labels, labels]), np.array([20, 20]))
    stack, built = DeviceStack(["kitchen", "hall"], private), artifact(stack_size=2)
    for number in (1, 2, 3):
        round_task = asked(number, round=number, names=BODY + HEAD if number == 1 else BODY, epochs=2)
        work = perform_round(stack, round_task, Personalizer(built), Forward(built))
        sent = device.perform(round_task)
        assert sent == work.summaries[0] == device.perform(round_task)
        expected = Expected.of(round_task, CLASSES, student())
        said = decode_summary(sent, expected=expected).statistics.parameters
        assert tuple(said) == BODY
        np.testing.assert_array_equal(said[BODY[0]], work.parameters[BODY[0]][0])
        stack = DeviceStack(["kitchen", "hall"], private, work.parameters)
    device.close()
