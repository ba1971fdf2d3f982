"""The methods: what they ask, what they make of answers whose result a person can work out."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from fedstill_proto.codec.api import Expected, decode_summary, decode_task, encode_task
from fedstill_proto.messages import (
    ClassSoftLabels,
    PrivateStatistics,
    PublicSoftLabels,
    SoftLabelSummary,
    StartPlan,
    StartSource,
    SummaryKind,
)
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec, decode_soft_labels
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels
from fedstill_server.config.codec import ConfigError
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.consensus.aggregation import RowSums, fold
from fedstill_server.consensus.coordinates import centred_logits
from fedstill_server.data.examples import Examples
from fedstill_server.methods import METHODS, Method, build_method
from fedstill_server.methods.class_logits import KNOWN, MEANS, ClassLogits
from fedstill_server.methods.fedavg import FedAvg
from fedstill_server.methods.public_logits import PublicLogits
from fedstill_server.methods.public_shift import LOGITS, propagated
from fedstill_server.rounds.preparation import prepare
from fedstill_server.state import FleetState, digest_of
from fedstill_server.tasks import training_of
from fedstill_server.training.networks import soft_labels_of

from tests.server.scripted_fleet import (
    CLASSES,
    METHODS_OF_ANY_FAMILY,
    PUBLIC,
    fleet_config,
    honest_statistics,
    honest_summary,
    public_examples,
)

FLOAT32 = SoftLabelCodec(Encoding.FLOAT32)
FAMILY = "mlp-small"


def averages(method_name: str) -> bool:
    """Whether weights are what the method exchanges."""
    return issubclass(METHODS.load(method_name), FedAvg)


def started(config: FleetConfig, public: Examples | None = None) -> tuple[Method, FleetState]:
    public = public or public_examples()
    method = build_method(config, public)
    return method, prepare(config, public, method)


def summary(task: Any, statistics: PrivateStatistics) -> SoftLabelSummary:
    return SoftLabelSummary(task.run, task.round, task.family, task.request.kind, statistics)


def public_method(options: dict[str, Any] | None = None, **changes: Any) -> tuple[PublicLogits, FleetState]:
    """A method whose devices start from the weights of their task, and answer where they are."""
    options = {"start_from": "task", **(options or {})}
    method, state = started(fleet_config("public-logits", options, uplink=FLOAT32, **changes))
    assert isinstance(method, PublicLogits)
    return method, state


@pytest.mark.parametrize("method_name", METHODS_OF_ANY_FAMILY)
def test_a_method_knows_whether_its_rounds_go_on_from_devices_own_students(method_name: str) -> None:
    method, state = started(fleet_config(method_name))

    task = method.of_round(state, round_number=2).task(state, round_number=2, family=FAMILY, newcomer=False)

    assert method.goes_on == (not task.forgets)


@pytest.mark.parametrize("method_name", METHODS_OF_ANY_FAMILY)
@pytest.mark.parametrize("newcomer", [True, False])
def test_tasks_can_be_sent_and_bring_a_newcomer_its_student(method_name: str, newcomer: bool) -> None:
    config = fleet_config(method_name, {"start_from": "task"})
    method, state = started(config)
    for make in (method.task, method.evaluation):
        task = make(state, round_number=2, family=FAMILY, newcomer=newcomer)
        received = decode_task(encode_task(task, codec=config.downlink))
        assert (received.run, received.round, received.family) == (config.run, 2, FAMILY)
        of_methods: dict[str, Any] = {"held_out": 0.0, "proximal": 0.0}
        of_methods |= {"local_parameters": (), "local_epochs": 0}
        if method_name == "public-only":
            of_methods["epochs"] = config.training.epochs
        assert dataclasses.replace(received.training, **of_methods) == config.training
        if newcomer:
            assert received.parameters.keys() == state.students[FAMILY].keys()
        else:
            assert received.replace_student == bool(received.parameters)


@pytest.mark.parametrize("method_name", [name for name in METHODS_OF_ANY_FAMILY if not averages(name)])
@pytest.mark.parametrize("newcomer", [True, False])
def test_no_task_brings_weights_by_default(method_name: str, newcomer: bool) -> None:
    method, state = started(fleet_config(method_name))
    task = method.task(state, round_number=2, family=FAMILY, newcomer=newcomer)
    measured = method.evaluation(state, round_number=2, family=FAMILY, newcomer=newcomer)

    assert not task.parameters
    assert not measured.parameters
    assert task.start is not None
    assert task.start.source is (StartSource.INSTALLED if method.makes_starts else StartSource.OWN)
    assert measured.start == StartPlan(source=StartSource.OWN)  # of a newcomer, that of its package


@pytest.mark.parametrize("method_name", METHODS_OF_ANY_FAMILY)
def test_answers_of_real_tasks_are_learned_the_same_way_each_time(method_name: str) -> None:
    method, state = started(fleet_config(method_name))
    task = method.task(state, round_number=1, family=FAMILY, newcomer=True)
    answers = [summary(task, honest_statistics(task, device)) for device in range(3)]

    def learned() -> str:
        contribution = method.contribution(state, round_number=1)
        total = fold(map(contribution, answers), method.zero(round_number=1))
        return digest_of(method.learn(state, total, round_number=1).flat())

    before = digest_of(state.flat())
    assert learned() == learned()
    assert digest_of(state.flat()) == before
    assert (learned() == before) == (method_name in ("local", "public-only"))


def test_without_federation_nothing_is_trained_and_nothing_but_public_labels_is_known() -> None:
    method, state = started(fleet_config("public-only"))
    task = method.task(state, round_number=1, family=FAMILY, newcomer=True)
    assert (task.training.epochs, task.request.kind) == (0, SummaryKind.NONE)
    with pytest.raises(ConfigError, match=r"'public-only' knows nothing but public labels"):
        fleet_config("public-only", use_public_labels=False)
    with pytest.raises(ConfigError, match=r"start: 'random'"):
        fleet_config("public-only", start="random")


@pytest.mark.parametrize(("weights", "bits"), [("8bit", 8), ("4bit", 4)])
def test_moves_of_few_bits_are_added_to_the_student_with_all_its_digits(weights: str, bits: int) -> None:
    config = fleet_config("fedavg", {"weights": weights})
    method, state = started(config)
    task = method.task(state, round_number=1, family=FAMILY, newcomer=False)
    measured = method.evaluation(state, round_number=1, family=FAMILY, newcomer=False)
    received = decode_task(encode_task(task, codec=config.downlink))
    assert received.weight_bits == measured.weight_bits == bits
    for name, array in state.students[FAMILY].items():
        np.testing.assert_array_equal(received.parameters[name], measured.parameters[name])
        step = np.abs(array).max() / ((1 << bits - 1) - 1)
        np.testing.assert_allclose(received.parameters[name], array, atol=0.51 * step)

    # Devices 0, 1 and 2 move every weight by their number.
    expected = Expected.of(received, CLASSES, received.parameters)
    answers = [decode_summary(honest_summary(received, device), expected=expected) for device in range(3)]
    total = fold(map(method.contribution(state, round_number=1), answers), method.zero(round_number=1))
    learned = method.learn(state, total, round_number=1)

    for name, array in state.students[FAMILY].items():
        np.testing.assert_allclose(learned.students[FAMILY][name], array + 1, atol=0.005)


def test_class_means_become_the_next_targets() -> None:
    method, state = started(fleet_config("class-logits"), Examples(public_examples().x))
    assert isinstance(method, ClassLogits)
    assert method.task(state, round_number=1, family=FAMILY, newcomer=False).soft_targets is None
    sums = RowSums(np.array([[0, 0, 0], [1, 3, 0], [0, 0, 2.0]]), np.array([0, 4, 2.0]), 2)

    state = method.learn(state, sums, round_number=1)

    targets = method.task(state, round_number=2, family=FAMILY, newcomer=False).soft_targets
    assert isinstance(targets, ClassSoftLabels)
    assert targets.present_classes.tolist() == [1, 2]
    np.testing.assert_allclose(targets.soft_labels.dense(), [[0.25, 0.75, 0], [0, 0, 1]])


def test_a_class_nobody_answered_for_keeps_its_consensus() -> None:
    method, state = started(fleet_config("class-logits"))
    first = state.arrays[MEANS].copy()
    assert state.arrays[KNOWN].tolist() == [1, 1, 1]  # from the labelled public set
    state = method.learn(state, RowSums(np.diag([0, 0, 5.0]), np.array([0, 0, 5.0]), 1), round_number=1)
    np.testing.assert_array_equal(state.arrays[MEANS][:2], first[:2])
    assert state.arrays[MEANS][2].tolist() == [0, 0, 1]


def test_the_public_rows_take_turns() -> None:
    method, _ = public_method(public_batch=5)
    turns = [method.answered_rows(number) for number in range(1, 7)]
    assert all(len(rows) <= 5 for rows in turns)
    for turn in (turns[:3], turns[3:]):
        assert sorted(np.concatenate(turn)) == list(range(PUBLIC))
    assert [rows.tolist() for rows in turns[:3]] != [rows.tolist() for rows in turns[3:]]
    np.testing.assert_array_equal(turns[1], public_method(public_batch=5)[0].answered_rows(2))


def test_a_task_asks_for_the_batch_and_brings_all_soft_labels() -> None:
    method, state = public_method(public_batch=5)
    task = method.task(state, round_number=1, family=FAMILY, newcomer=False)
    assert task.request.kind is SummaryKind.PUBLIC_SET
    np.testing.assert_array_equal(task.request.public_rows, method.answered_rows(1))
    assert isinstance(task.soft_targets, PublicSoftLabels)
    assert len(task.soft_targets.public_rows) == PUBLIC
    assert task.replace_student


def test_a_device_that_learned_nothing_shifts_nothing() -> None:
    for codec in (SoftLabelCodec(Encoding.UINT8), SoftLabelCodec(Encoding.TOP_K, 2), FLOAT32):
        method, state = started(fleet_config("public-logits", {"start_from": "task"}, uplink=codec))
        assert isinstance(method, PublicLogits)
        task = method.task(state, round_number=1, family=FAMILY, newcomer=True)
        student = training_of(method.config).student(FAMILY, task.parameters)
        soft = soft_labels_of(student, method.public.x[task.request.public_rows], temperature=2.0)
        sent = decode_soft_labels(codec.encode(soft), field="sent")
        shift = method.contribution(state, round_number=1)(summary(task, PrivateStatistics(soft_labels=sent)))
        assert not shift.result().any()


def test_from_a_start_of_its_own_a_device_answers_how_far_it_went() -> None:
    method, state = started(fleet_config("public-logits", uplink=FLOAT32))
    task = method.task(state, round_number=1, family=FAMILY, newcomer=False)
    rows = len(task.request.public_rows)
    said = np.full((rows, CLASSES), 0.25, np.float32)
    said[:, 1] = 0.5  # twice as likely as at the start, against both others

    sums = method.contribution(state, round_number=1)(
        summary(task, PrivateStatistics(soft_labels=DenseSoftLabels(said)))
    )

    assert task.request.relative
    third = np.log(2) / 3
    expected = np.tile([-third, 2 * third, -third], (rows, 1))
    np.testing.assert_allclose(sums.result()[task.request.public_rows], expected, rtol=1e-6)


def shifted_answer(method: PublicLogits, state: FleetState, by: np.ndarray) -> SoftLabelSummary:
    """What a device answers whose logits (at the temperature) moved by `by` [rows, classes]."""
    task = method.task(state, round_number=1, family=FAMILY, newcomer=True)
    student = training_of(method.config).student(FAMILY, task.parameters)
    soft = soft_labels_of(student, method.public.x[task.request.public_rows], temperature=2.0)
    moved = soft * np.exp(by)
    labels = DenseSoftLabels((moved / moved.sum(axis=1, keepdims=True)).astype(np.float32))
    return summary(task, PrivateStatistics(soft_labels=labels))


def logit_step(method: PublicLogits, state: FleetState, by: np.ndarray) -> np.ndarray:
    contribution = method.contribution(state, round_number=1)
    answers = [shifted_answer(method, state, by), shifted_answer(method, state, np.zeros_like(by))]
    total = fold(map(contribution, answers), method.zero(round_number=1))
    after = method.learn(state, total, round_number=1)
    step: np.ndarray = after.arrays[LOGITS] - state.arrays[LOGITS]
    return step


def test_the_server_follows_the_mean_shift_at_its_rate() -> None:
    method, state = public_method({"server_rate": 3.0, "propagation_width": 0.0}, public_batch=4)
    by = np.zeros((4, CLASSES))
    by[0, 0], by[1, 0] = 1, -1  # its mean over the rows is 0

    step = logit_step(method, state, by)

    # Half of the devices moved by 1 in one of three classes: 3 * 1/2 * (1 - 1/3), and -1/3 in the others.
    rows = method.answered_rows(1)
    np.testing.assert_allclose(step[rows[0]], [1, -0.5, -0.5], atol=1e-4)
    np.testing.assert_allclose(step[rows[1]], [-1, 0.5, 0.5], atol=1e-4)
    others = np.setdiff1d(np.arange(PUBLIC), rows[:2])
    np.testing.assert_allclose(step[others], 0, atol=1e-4)


def test_the_skew_of_a_devices_labels_moves_nothing() -> None:
    method, state = public_method(public_batch=4)
    always_class_2 = np.tile([0, 0, 2.0], (4, 1))
    np.testing.assert_allclose(logit_step(method, state, always_class_2), 0, atol=1e-4)


def test_shifts_reach_rows_nearby_and_no_others() -> None:
    x = np.array([[0.0], [0.0], [10.0], [100.0]], np.float32)
    shift = np.array([[1.0, -1.0], [0.0, 0.0]])
    carried = propagated(shift, x, np.array([0, 2]), width=0.2)  # the two rows are 10 apart: a width of 2
    # Kernel of a row with itself 1, unit noise 1: half the shift, also where a row is the same as it.
    np.testing.assert_allclose(carried[0], [0.5, -0.5], atol=1e-5)
    np.testing.assert_allclose(carried[1], carried[0])
    np.testing.assert_allclose(carried[2:], 0, atol=1e-5)


def test_without_a_width_only_answered_rows_move() -> None:
    shift = np.array([[1.0, -1.0], [2.0, -2.0]])
    carried = propagated(shift, np.zeros((3, 1), np.float32), np.array([0, 2]), width=0)
    np.testing.assert_array_equal(carried, [[1, -1], [0, 0], [2, -2]])


def test_rows_that_are_all_the_same_are_no_trouble() -> None:
    carried = propagated(
        np.array([[1.0, -1.0], [1.0, -1.0]]), np.ones((3, 2), np.float32), np.array([0, 2]), width=1
    )
    np.testing.assert_allclose(carried, np.tile([2 / 3, -2 / 3], (3, 1)))


def test_sharpening_lowers_the_entropy_of_the_targets() -> None:
    def targets(**options: Any) -> np.ndarray:
        method, state = public_method(options)
        task = method.task(state, round_number=1, family=FAMILY, newcomer=False)
        assert isinstance(task.soft_targets, PublicSoftLabels)
        return task.soft_targets.soft_labels.dense()

    plain, sharp = targets(), targets(sharpen=0.5)
    np.testing.assert_allclose(sharp, plain**2 / (plain**2).sum(axis=1, keepdims=True), rtol=1e-4)


def test_centred_logits_of_a_zero_are_finite() -> None:
    logits = centred_logits(np.array([[1.0, 0.0]], np.float32), least=np.exp(-4))
    np.testing.assert_allclose(logits, [[2, -2]])
