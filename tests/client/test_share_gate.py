"""How much of the fleet's student a device keeps, judged on examples that it held out."""

from __future__ import annotations

import dataclasses

import numpy as np
from fedstill_client.model.forward import Forward
from fedstill_client.model.order import device_ids
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.model.trainer import Personalizer
from fedstill_client.rounds.round import DeviceStack, RoundOptions, perform_round
from fedstill_client.rounds.share_gate import HeldOut, interpolated, kept_shares, p_values
from fedstill_proto.arrays import Parameters
from fedstill_proto.messages import TrainingPlan

from tests.client.samples import SHAPE, artifact, plan, stack_of, student, task

IDS = device_ids(["a", "b", "c"])


def gated(share: float = 0.5) -> TrainingPlan:
    return dataclasses.replace(plan(epochs=1), start_share=share, held_out=0.2)


def always(answer: int, margin: float) -> Parameters:
    """A student that says one class, `margin` ahead of the others, whatever it sees."""
    parameters = {name: np.zeros_like(array) for name, array in student().items()}
    parameters["output.bias"][answer] = margin
    return parameters


def of_one_class(*labels: int, examples: int = 25) -> PrivateStack:
    """Devices that each know one class alone."""
    rows = np.repeat(np.array(labels)[:, None], examples, axis=1)
    return PrivateStack(
        np.zeros((*rows.shape, *SHAPE), np.float32), rows, np.full(len(labels), examples, np.int64)
    )


def test_five_better_answers_and_no_worse_are_one_in_thirty_two() -> None:
    other = np.array([[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1], [0, 1, 0, 0, 1, 0]])
    kept = np.array([[0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 2], [0, 1, 0, 0, 1, 0]])

    # 5 of 5; 5 or 6 heads of 6; no example tells the last two apart.
    np.testing.assert_allclose(p_values(other, kept), [1 / 32, 7 / 64, 1])


def test_a_fifth_is_held_out_where_that_is_enough_to_judge() -> None:
    private = stack_of(25, 24, 40)

    parts = HeldOut.of(private, IDS, gated(), round=3)

    assert parts is not None
    assert parts.held.counts.tolist() == [5, 0, 8]
    assert parts.rest.counts.tolist() == [20, 24, 32]
    for device, count in enumerate(private.counts):
        apart = [part.table_rows[device, : part.counts[device]] for part in (parts.rest, parts.held)]
        assert sorted(np.concatenate(apart)) == private.table_rows[device, :count].tolist()
        for part in (parts.rest, parts.held):
            mine = slice(0, part.counts[device])
            np.testing.assert_array_equal(
                part.labels[device, mine], private.labels.reshape(-1)[part.table_rows[device, mine]]
            )
    again = HeldOut.of(private, IDS, gated(), round=4)
    assert again is not None
    assert set(again.held.table_rows[2, :8]) != set(parts.held.table_rows[2, :8])


def test_too_few_examples_change_nothing_and_train_nothing() -> None:
    def train(rest: PrivateStack) -> Parameters:
        raise AssertionError(f"trained on {rest.counts}")

    shares = kept_shares(
        stack_of(24, 3, 0),
        IDS,
        task(gated(0.25)),
        Forward(artifact(stack_size=3)),
        start=student(),
        train=train,
        label_prior=1.0,
    )

    assert shares.tolist() == [0.25] * 3


def test_a_device_leaves_the_mixed_student_only_for_a_better_one() -> None:
    private = of_one_class(0, 1, 2)  # what is trained says 0, the start says 1
    stacked = {name: np.stack([array] * 3) for name, array in always(0, 10).items()}
    found = [
        kept_shares(
            private,
            IDS,
            task(gated()),
            Forward(artifact(stack_size=3)),
            start=always(1, margin),
            train=lambda rest: stacked,
            label_prior=0.0,
        ).tolist()
        for margin in (4, 40)
    ]

    # Mixed, 5 for class 0 against 2, or against 20 for class 1. The last device is wrong in any way.
    assert found == [[0.5, 1.0, 0.5], [0.0, 0.5, 0.5]]


def test_shares_of_each_device() -> None:
    start, trained = {"w": np.array([0.0, 4.0])}, {"w": np.array([[8.0, 8.0], [2.0, 2.0]])}

    kept = interpolated(trained, start, np.array([0.25, 1.0], np.float32))

    np.testing.assert_array_equal(kept["w"], [[6, 7], [0, 4]])


def test_a_round_keeps_nothing_of_a_fleet_that_is_wrong_about_a_device() -> None:
    private = of_one_class(2)
    training = dataclasses.replace(gated(), epochs=20, learning_rate=0.5)
    built, start = artifact(), always(1, 9.0)
    asked = task(training, parameters=start)

    work = perform_round(
        DeviceStack(["a"], private),
        asked,
        Personalizer(built),
        Forward(built),
        options=RoundOptions(label_prior=0.0),
    )
    ungated = perform_round(
        DeviceStack(["a"], private),
        dataclasses.replace(asked, training=dataclasses.replace(training, start_share=0.0, held_out=0.0)),
        Personalizer(built),
        Forward(built),
    )

    assert work.start_shares.tolist() == [0.0]
    for name, array in ungated.parameters.items():
        np.testing.assert_allclose(work.parameters[name], array)
    assert work.summaries == ungated.summaries
