"""SCAFFOLD on a device: one step by hand, a device alone and in a stack, and from round to round."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from fedstill_client.model.forward import Forward
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.model.trainer import Personalizer
from fedstill_client.rounds.control_variates import moved
from fedstill_client.rounds.device import FleetDevice
from fedstill_client.rounds.round import DeviceStack, RoundWork, perform_round
from fedstill_proto.arrays import Parameters
from fedstill_proto.codec.api import Expected, decode_summary
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import Optimizer, PrivateStatistics, RoundTask, SummaryKind, SummaryRequest

from tests.client.samples import CLASSES, artifact, examples, plan, stack_of, student, task, write_device

RATE = 0.1


def asked(control_variates: Parameters, *, round: int = 1, epochs: int = 1) -> RoundTask:
    plain = task(
        plan(epochs=epochs, learning_rate=RATE),
        round=round,
        request=SummaryRequest(SummaryKind.PARAMETERS),
        replace_student=True,
    )
    return dataclasses.replace(plain, control_variates=control_variates)


def nothing() -> Parameters:
    return {name: np.zeros_like(array) for name, array in student().items()}


def performed(round_task: RoundTask, stack: DeviceStack) -> RoundWork:
    built = artifact(stack_size=stack.private.devices)
    return perform_round(stack, round_task, Personalizer(built), Forward(built))


def said(summary: bytes | None, round_task: RoundTask) -> PrivateStatistics:
    assert summary is not None
    expected = Expected.of(round_task, CLASSES, student())
    return decode_summary(summary, expected=expected).statistics


def test_one_step_of_two_devices() -> None:
    # Without control variates a step is y = x - lr g: it tells the gradients, which are the first c_i.
    private, fleet, x = stack_of(4, 3), student(seed=1), student()
    first = performed(asked(nothing()), DeviceStack(["a", "b"], private))
    gradient = {name: (x[name] - first.parameters[name]) / RATE for name in x}
    for name in x:
        np.testing.assert_allclose(first.control_variates[name], gradient[name], atol=1e-6)

    own = {name: np.stack([array, -array]) for name, array in student(seed=2).items()}
    second_task = asked(fleet, round=1)
    second = performed(second_task, DeviceStack(["a", "b"], private, control_variates=own))

    for device in range(2):
        answer = said(second.summaries[device], second_task)
        for name in x:
            corrected = gradient[name][device] - own[name][device] + fleet[name]
            np.testing.assert_allclose(answer.parameters[name], x[name] - RATE * corrected, atol=1e-5)
            # c_i+ = g, the only gradient that it saw, and it says how far that is from c_i.
            np.testing.assert_allclose(
                second.control_variates[name][device], gradient[name][device], atol=1e-5
            )
            np.testing.assert_allclose(
                answer.control_variates[name], gradient[name][device] - own[name][device], atol=1e-5
            )


@pytest.mark.parametrize(
    ("optimizer", "lengths"),
    [(Optimizer.SGD, [0.0, 0.1, 0.2, 0.3]), (Optimizer.MOMENTUM, [0.0, 0.1, 0.1 + 0.19, 0.1 + 0.19 + 0.271])],
)
def test_a_gradient_that_stays_the_same_is_found_again(optimizer: Optimizer, lengths: list[float]) -> None:
    round_task = dataclasses.replace(
        asked(student(seed=1)), training=plan(optimizer=optimizer, learning_rate=RATE)
    )
    gradient, start = student(seed=3), student()
    trained = {
        name: np.stack([start[name] - np.float32(length) * gradient[name] for length in lengths])
        for name in start
    }

    changes = moved(round_task, start, trained, np.arange(4))

    for name, fleet in round_task.control_variates.items():
        np.testing.assert_array_equal(changes[name][0], 0)  # who took no step keeps its own
        for device in (1, 2, 3):
            np.testing.assert_allclose(changes[name][device], gradient[name] - fleet, atol=1e-5)


def test_adamw_is_refused() -> None:
    round_task = dataclasses.replace(asked(nothing()), training=plan(optimizer=Optimizer.ADAMW))
    with pytest.raises(FedstillError, match="adamw takes steps that are no sum"):
        moved(round_task, student(), {}, np.array([1]))


def test_a_device_goes_on_with_its_own_as_it_would_in_a_stack(tmp_path: Path) -> None:
    device = FleetDevice.open(write_device(tmp_path / "device", artifact()))
    x, labels = examples(20, seed=1)
    private = PrivateStack(np.stack([x, -x]), np.stack([labels, labels]), np.array([20, 20]))
    stack = DeviceStack(["kitchen", "hall"], private)
    for number in (1, 2, 3):
        round_task = asked(student(seed=number), round=number, epochs=2)
        together = performed(round_task, stack)
        assert device.perform(round_task) == together.summaries[0]
        assert device.perform(round_task) == together.summaries[0]  # asked again: from where it was before
        own = together.control_variates
        stack = DeviceStack(["kitchen", "hall"], private, together.parameters, control_variates=own)

    elsewhere = dataclasses.replace(round_task, run="ffff0000")  # those of another run mean nothing there
    fresh = performed(elsewhere, DeviceStack(["kitchen", "hall"], private))
    assert device.perform(elsewhere) == fresh.summaries[0]
    device.close()
