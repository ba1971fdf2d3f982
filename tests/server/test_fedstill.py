"""The default method: what it asks, and each of its ingredients with numbers that a person can work out."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from fedstill_proto.messages import (
    PrivateStatistics,
    PublicSoftLabels,
    SoftLabelSummary,
    StartPlan,
    StartSource,
)
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels
from fedstill_server.config.fleet import ConfigError
from fedstill_server.consensus.aggregation import RowSums, fold
from fedstill_server.data.examples import Examples
from fedstill_server.methods import METHODS, build_method
from fedstill_server.methods.fedstill import Fedstill, balanced, label_logits, stepped
from fedstill_server.methods.public_shift import LOGITS
from fedstill_server.rounds.preparation import prepare
from fedstill_server.state import FleetState

from tests.server.scripted_fleet import PUBLIC, fleet_config, public_examples

FAMILY = "mlp-small"
FLOAT32 = SoftLabelCodec(Encoding.FLOAT32)


def started(
    *, labelled: bool = False, options: dict[str, Any] | None = None, **changes: Any
) -> tuple[Fedstill, FleetState]:
    public = public_examples() if labelled else Examples(public_examples().x)
    config = fleet_config("fedstill", options, **{"uplink": FLOAT32, "public_batch": 0, **changes})
    method = build_method(config, public)
    assert isinstance(method, Fedstill)
    return method, prepare(config, public, method)


def answer(method: Fedstill, state: FleetState, shift: np.ndarray, *, round_number: int = 1) -> RowSums:
    """The contribution of a device whose log soft labels moved by `shift` [rows, classes]."""
    task = method.task(state, round_number=round_number, family=FAMILY, newcomer=False)
    soft = DenseSoftLabels((np.exp(shift) / np.exp(shift).sum(1, keepdims=True)).astype(np.float32))
    said = SoftLabelSummary(
        task.run, task.round, FAMILY, task.request.kind, PrivateStatistics(soft_labels=soft)
    )
    sums = method.contribution(state, round_number=round_number)(said)
    assert isinstance(sums, RowSums)
    return sums


def test_a_step_has_the_length_that_it_is_given() -> None:
    way = np.array([[3.0, -3.0], [3.0, -3.0]])
    np.testing.assert_allclose(stepped(way, 0.5), [[0.5, -0.5], [0.5, -0.5]])
    np.testing.assert_allclose(stepped(1000 * way, 0.5), stepped(way, 0.5))
    assert not stepped(np.zeros((2, 2)), 0.5).any()


def test_steps_fall_to_their_last_share() -> None:
    method, _ = started(rounds=5, options={"server_step": 0.4, "last_step": 0.2})
    assert [method.step_length(number) for number in (1, 3, 5, 9)] == pytest.approx([0.4, 0.24, 0.08, 0.08])
    alone, _ = started(rounds=1, options={"server_step": 0.4})
    assert alone.step_length(1) == 0.4


def test_labels_as_softened_logits() -> None:
    # Smoothed by 3 % over two classes: 0.985 and 0.015; half the difference of their logarithms, softened.
    half = math.log(0.985 / 0.015) / 2
    np.testing.assert_allclose(label_logits(np.array([1]), 2, temperature=2.0), [[-half / 2, half / 2]])


def test_a_task_asks_how_far_a_student_goes_and_keeps_most_of_its_start() -> None:
    method, state = started()
    task = method.task(state, round_number=1, family=FAMILY, newcomer=False)
    assert task.request.relative
    assert task.start == method.start_plan
    assert not task.parameters
    assert task.training.held_out == 0.2
    assert dataclasses.replace(task.training, held_out=0.0) == method.config.training


def test_a_start_has_the_noise_of_the_server_s_students_and_a_multiple_of_the_local_rate() -> None:
    method, state = started(options={"start_epochs": 7, "start_rate": 3.0, "student_noise": 0.5})
    start = method.task(state, round_number=1, family=FAMILY, newcomer=False).start
    assert start == StartPlan(
        source=StartSource.INSTALLED,
        epochs=7,
        learning_rate=0.375,  # 3 times 0.125
        input_noise=0.5 * float(method.public.x.std()),
    )


def test_a_start_from_the_task_is_the_server_s_student() -> None:
    method, state = started(options={"start_from": "task"})
    task = method.task(state, round_number=1, family=FAMILY, newcomer=False)
    assert task.replace_student
    assert task.start is None
    assert task.parameters.keys() == state.students[FAMILY].keys()


def test_nothing_is_known_before_the_first_round_without_labels() -> None:
    method, state = started()
    assert not state.arrays[LOGITS].any()
    targets = method.task(state, round_number=1, family=FAMILY, newcomer=True).soft_targets
    assert isinstance(targets, PublicSoftLabels)
    np.testing.assert_allclose(targets.soft_labels.dense(), 1 / 3)


def test_the_mean_of_two_devices_sets_the_way() -> None:
    """One moved class 0 up at the first row, the other class 1 at the second; nobody moved elsewhere."""
    method, state = started(
        options={"propagation_width": 0.0, "server_step": 0.5, "last_step": 1.0, "class_balance": 0.0}
    )
    first, second = np.zeros((PUBLIC, 3)), np.zeros((PUBLIC, 3))
    first[0, 0], second[1, 1] = 3.0, 3.0

    total = fold([answer(method, state, first), answer(method, state, second)], method.zero(round_number=1))
    logits = method.learn(state, total, round_number=1).arrays[LOGITS]

    # The mean of both, less its mean over the classes (1, -0.5, -0.5 at row 0) and over the twelve rows.
    way = np.zeros((PUBLIC, 3))
    way[0], way[1] = [1, -0.5, -0.5], [-0.5, 1, -0.5]
    way -= np.array([0.5, 0.5, -1]) / PUBLIC
    np.testing.assert_allclose(logits, 0.5 * way / np.sqrt((way**2).mean()), atol=1e-5)


def test_a_loud_fleet_and_a_quiet_one_step_alike() -> None:
    method, state = started()
    way = np.random.default_rng(3).normal(size=(PUBLIC, 3))
    loud, quiet = (
        method.learn(state, answer(method, state, size * way), round_number=1).arrays[LOGITS]
        for size in (0.5, 0.05)
    )
    np.testing.assert_allclose(loud, quiet, atol=1e-4)


def test_labels_pull_where_there_are_any() -> None:
    still = np.zeros((PUBLIC, 3))
    method, state = started(labelled=True, options={"label_anchor": 0.25})
    assert method.labels is not None
    logits = method.learn(state, answer(method, state, still), round_number=1).arrays[LOGITS]
    labels = label_logits(method.labels, 3, temperature=2.0)
    np.testing.assert_allclose(logits, 0.75 * state.arrays[LOGITS] + 0.25 * labels, atol=1e-5)

    unused, state = started(labelled=True, use_public_labels=False)
    logits = unused.learn(state, answer(unused, state, still), round_number=1).arrays[LOGITS]
    assert not logits.any()


def test_classes_come_nearer_to_each_other_without_labels() -> None:
    # Two rows of shares (3/4, 1/4) and (1/4, 3/4) are balanced, two of (3/4, 1/4) are brought to it whole.
    apart, alike = np.log([[3.0, 1.0], [1.0, 3.0]]), np.log([[3.0, 1.0], [3.0, 1.0]])

    np.testing.assert_allclose(balanced(apart, 1.0), apart)
    np.testing.assert_allclose(np.diff(balanced(alike, 1.0)), 0, atol=1e-12)
    np.testing.assert_allclose(np.diff(balanced(alike, 0.5)), -np.log(3) / 2)


def test_public_labels_leave_no_need_to_balance() -> None:
    still = np.zeros((PUBLIC, 3))
    learned = []
    for balance in (0.0, 1.0):
        method, state = started(labelled=True, options={"class_balance": balance})
        learned.append(method.learn(state, answer(method, state, still), round_number=1).arrays[LOGITS])
    np.testing.assert_array_equal(*learned)


def test_students_learn_from_inputs_with_noise() -> None:
    way = np.random.default_rng(3).normal(size=(PUBLIC, 3))
    students = []
    for noise in (0.0, 0.5):
        method, state = started(options={"student_noise": noise})
        after = method.learn(state, answer(method, state, way), round_number=1)
        students.append(after.students[FAMILY]["output.weight"])
    assert not np.array_equal(*students)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("server_step", 0.0),
        ("last_step", 1.5),
        ("label_anchor", -0.1),
        ("held_out", 0.6),
    ],
)
def test_settings_out_of_range_are_named(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        Fedstill(**{name: value})


def test_what_suits_the_method_fits_its_bytes() -> None:
    suited = METHODS.load("fedstill").defaults
    assert (suited.temperature, suited.soft_weight, suited.public_batch) == (2.0, 0.5, 320)
    assert (suited.uplink.bits, suited.uplink.entropy) == (4, True)


def test_a_small_public_set_is_made_larger_by_mixed_rows() -> None:
    method, state = started(labelled=True, options={"fewest_rows": 20, "label_anchor": 1.0})
    task = method.task(state, round_number=1, family=FAMILY, newcomer=False)
    assert task.mixed_rows == 20 - PUBLIC
    np.testing.assert_array_equal(task.request.public_rows, np.arange(20))
    assert isinstance(task.soft_targets, PublicSoftLabels)
    assert len(task.soft_targets.public_rows) == 20
    before = state.arrays[LOGITS]
    after = method.learn(state, answer(method, state, np.zeros((20, 3))), round_number=1).arrays[LOGITS]
    assert method.public.y is not None
    np.testing.assert_array_equal(after[:PUBLIC].argmax(axis=1), method.public.y)
    np.testing.assert_allclose(after[PUBLIC:], before[PUBLIC:], atol=1e-6)  # no label pulls at those
