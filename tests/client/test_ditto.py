"""Ditto on a device: the owner's student by hand, and an answer that it has no part in."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from fedstill_client.model.forward import Forward
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.model.trainer import Personalizer
from fedstill_client.rounds.device import FleetDevice
from fedstill_client.rounds.round import DeviceStack, RoundWork, perform_round
from fedstill_proto.arrays import Parameters
from fedstill_proto.codec.api import decode_task, encode_task
from fedstill_proto.messages import PersonalPlan, RoundTask, SummaryKind, SummaryRequest
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec

from tests.client.samples import artifact, examples, plan, stack_of, student, task, write_device

RATE, PULL = 0.125, 0.5


def asked(fleet: Parameters, *, round: int = 1, ditto: bool = True) -> RoundTask:
    made = task(
        plan(learning_rate=RATE),
        round=round,
        request=SummaryRequest(SummaryKind.PARAMETERS),
        parameters=fleet,
        replace_student=True,
    )
    if ditto:
        personal = PersonalPlan(epochs=1, learning_rate=RATE, proximal=PULL, own=True)
        made = dataclasses.replace(made, personal=personal)
    return decode_task(encode_task(made, codec=SoftLabelCodec(Encoding.FLOAT32)))


def performed(round_task: RoundTask, stack: DeviceStack) -> RoundWork:
    built = artifact(stack_size=stack.private.devices)
    return perform_round(stack, round_task, Personalizer(built), Forward(built))


def test_an_owners_student_goes_on_near_the_fleets() -> None:
    # Four examples are one step: v <- v - lr (g(v) + lambda (v - w)).
    private, fleet = stack_of(4), student(seed=1)
    first = performed(asked(student()), DeviceStack(["a"], private))
    own = {name: array[0] for name, array in first.parameters.items()}
    plain = performed(asked(own, ditto=False), DeviceStack(["a"], private))  # own - lr g(own)

    second = performed(asked(fleet, round=2), DeviceStack(["a"], private, first.parameters))

    fedavg = performed(asked(fleet, round=2, ditto=False), DeviceStack(["a"], private, first.parameters))
    assert second.summaries == fedavg.summaries
    for name, array in second.parameters.items():
        at_start = performed(asked(student(), ditto=False), DeviceStack(["a"], private)).parameters[name]
        np.testing.assert_array_equal(first.parameters[name], at_start)  # from w itself, nothing pulls
        expected = plain.parameters[name][0] - RATE * PULL * (own[name] - fleet[name])
        np.testing.assert_allclose(array[0], expected, atol=1e-6)


def test_a_device_goes_on_with_its_owners_as_it_would_in_a_stack(tmp_path: Path) -> None:
    device = FleetDevice.open(write_device(tmp_path / "device", artifact()))
    x, labels = examples(20, seed=1)
    private = PrivateStack(np.stack([x, -x]), np.stack([labels, labels]), np.array([20, 20]))
    stack = DeviceStack(["kitchen", "hall"], private)
    for number in (1, 2, 3):
        round_task = asked(student(seed=number), round=number)
        together = performed(round_task, stack)
        for _ in range(2):  # asked again, it does the same again
            assert device.perform(round_task) == together.summaries[0]
        kept = device.store.latest()
        assert kept is not None
        for name, array in together.parameters.items():
            np.testing.assert_array_equal(kept.parameters[name], array[0])
        stack = DeviceStack(["kitchen", "hall"], private, together.parameters)
    device.close()
