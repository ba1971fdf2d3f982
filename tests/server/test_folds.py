"""One device moves no row of any method's consensus by more than 1/n of the range, whatever it claims."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from fedstill_proto.messages import PrivateStatistics, RoundTask, SoftLabelSummary, SummaryKind
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels
from fedstill_server.config.codec import ConfigError
from fedstill_server.config.options import options_of
from fedstill_server.consensus.aggregation import Both, ClassVectors, FamilySums, RowSums, VoteSums, fold
from fedstill_server.consensus.folds import FOLDS, RowLabels
from fedstill_server.consensus.folds.answers import MOST_DEVICES, Answers
from fedstill_server.consensus.folds.clipping import clipped_rows
from fedstill_server.consensus.folds.median import Median
from fedstill_server.consensus.folds.nearest import Nearest
from fedstill_server.consensus.folds.norms import Norms
from fedstill_server.consensus.folds.own_class import OwnClass
from fedstill_server.consensus.folds.trimmed import Trimmed, trimmed_mean
from fedstill_server.consensus.folds.trust import Trust
from fedstill_server.methods import METHODS, Method, build_method
from fedstill_server.rounds.preparation import prepare
from fedstill_server.state import FleetState

from tests.server.scripted_fleet import (
    CLASSES,
    METHODS_OF_ANY_FAMILY,
    fleet_config,
    honest_statistics,
    public_examples,
)

DEVICES, FAMILY = 8, "mlp-small"
EXCHANGING = [name for name in METHODS_OF_ANY_FAMILY if METHODS.load(name).exchanges]
FOLDED = [name for name in EXCHANGING if "fold" in {one.name for one in options_of(METHODS.load(name))}]
CLAIMED, HUGE = 2**32 - 1, np.float32(3e38)


@functools.cache
def started(name: str, fold_name: str = "auto") -> tuple[Method, FleetState]:
    config = fleet_config(name, {"fold": fold_name} if name in FOLDED else {})
    public = public_examples()
    method = build_method(config, public)
    return method, prepare(config, public, method)


def summary_of(task: RoundTask, statistics: PrivateStatistics) -> SoftLabelSummary:
    return SoftLabelSummary(task.run, task.round, task.family, task.request.kind, statistics)


def honest(name: str) -> list[SoftLabelSummary]:
    """Devices that know a little: their answers lie between a uniform one and any; their students moved."""
    method, state = started(name)
    task = method.task(state, round_number=1, family=FAMILY, newcomer=True)
    found = []
    for device in range(1, DEVICES):
        said = honest_statistics(task, device)
        if said.soft_labels is not None:
            mild = (said.soft_labels.dense() + 2 / CLASSES) / 3
            said = dataclasses.replace(said, soft_labels=DenseSoftLabels(mild.astype(np.float32)))
        found.append(summary_of(task, said))
    return found


def hostile(name: str, place: int) -> SoftLabelSummary:
    """Everything that a gate lets through: one class for all, counts and weights as large as they go."""
    method, state = started(name)
    task = method.task(state, round_number=1, family=FAMILY, newcomer=True)
    kind, classes = task.request.kind, np.arange(CLASSES)
    if kind is SummaryKind.PARAMETERS:
        local = task.training.local_parameters
        moved = {key: np.full_like(v, HUGE) for key, v in task.parameters.items() if key not in local}
        return summary_of(task, PrivateStatistics(parameters=moved, examples=CLAIMED))
    rows = CLASSES if kind is not SummaryKind.PUBLIC_SET else len(task.request.public_rows)
    counted = kind is not SummaryKind.PUBLIC_SET or task.request.class_counts
    present = classes if counted else classes[:0]
    anchors = len(task.request.anchor_rows)
    labels = DenseSoftLabels(np.eye(CLASSES, dtype=np.float32)[np.full(rows, place)])
    return summary_of(
        task,
        PrivateStatistics(
            soft_labels=None if kind is SummaryKind.CLASS_PROTOTYPES else labels,
            present_classes=present,
            class_examples=np.full(len(present), CLAIMED),
            answered=np.ones(rows, bool) if task.request.selection is not None else None,
            features=np.ones((rows, anchors), np.float32) if anchors else None,
        ),
    )


def consensus_of(method: Method, state: FleetState, summaries: Sequence[SoftLabelSummary]) -> Any:
    """As a run makes it: two passes and what the method learns from."""
    parts = list(map(method.contribution(state, round_number=1), summaries))
    norms = fold(map(method.norms, parts), Norms()) if method.compares else Norms()
    bounded = method.bounded(norms, state, round_number=1)
    return method.settled(fold(map(bounded, parts), method.bounded_zero(round_number=1)), round_number=1)


def rows_of(consensus: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """The means of a consensus [rows, width], each with how many devices are behind its rows [rows]."""
    if isinstance(consensus, Both):
        return [*rows_of(consensus.first), *rows_of(consensus.second)]
    if isinstance(consensus, RowSums):
        return [(consensus.result(), consensus.weights)]
    if isinstance(consensus, VoteSums):
        return [(consensus.mean(), consensus.votes)]
    if isinstance(consensus, ClassVectors):
        one_hot = np.eye(CLASSES)[consensus.classes].T
        counts = one_hot.sum(axis=1)
        return [(one_hot @ consensus.vectors / np.maximum(counts, 1)[:, None], counts)]
    assert isinstance(consensus, FamilySums)
    return [
        (
            np.concatenate([total.reshape(-1) for total in one.totals.values()])[None] / one.weight,
            np.array([one.weight]),
        )
        for one in consensus.families.values()
    ]


@pytest.mark.parametrize("place", range(CLASSES))
@pytest.mark.parametrize("name", EXCHANGING)
def test_one_device_moves_no_row_by_more_than_its_share(name: str, place: int) -> None:
    method, state = started(name)
    others, liar = honest(name), hostile(name, place)

    without = rows_of(consensus_of(method, state, others))
    with_it = rows_of(consensus_of(method, state, [*others, liar]))

    alone = [rows_of(consensus_of(method, state, [one])) for one in others]
    for part, ((before, _), (after, devices)) in enumerate(zip(without, with_it, strict=True)):
        answered = (devices > 1) & np.isfinite(after).all(axis=1)
        longest = max(float(np.linalg.norm(one[part][0], axis=1).max()) for one in alone)
        reach = max(2 * longest, 2**0.5)  # between two honest rows, or two soft labels
        if part == 1:
            reach = 2 * 16 if name == "feddf" else 2 * after.shape[1] ** 0.5  # logits above log 1e-6; cosines
        moved = np.linalg.norm(after - before, axis=1)[answered]
        assert answered.any()
        assert (moved <= reach / devices[answered] + 1e-9).all()


@pytest.mark.parametrize("name", ["public-logits", "fedavg"])
def test_without_a_fold_it_moves_them_further(name: str) -> None:
    method, state = started(name, "mean")
    others = honest(name)
    ((before, _),) = rows_of(consensus_of(method, state, others))
    ((after, devices),) = rows_of(consensus_of(method, state, [*others, hostile(name, 0)]))
    longest = max(
        np.linalg.norm(rows_of(consensus_of(method, state, [one]))[0][0], axis=1).max() for one in others
    )
    moved = np.linalg.norm(after - before, axis=1)
    assert (moved > 2 * longest / np.maximum(devices, 1)).any()


@pytest.mark.parametrize(
    ("name", "fold_name"),
    [
        (name, fold_name)
        for name in ("public-logits", "selective", "fedgkt", "class-logits", "feddf")
        for fold_name in FOLDS.built_in
        if METHODS.load(name).answer_kind in FOLDS.load(fold_name).kinds
    ],
)
def test_a_fold_is_the_same_however_answers_are_merged(name: str, fold_name: str) -> None:
    method, state = started(name, fold_name)
    summaries = honest(name)
    parts = list(map(method.contribution(state, round_number=1), summaries))
    norms = fold(map(method.norms, parts), Norms()) if method.compares else Norms()
    bounded, zero = method.bounded(norms, state, round_number=1), method.bounded_zero(round_number=1)
    one, two = (fold(map(bounded, half), zero) for half in (parts[4:], parts[:4]))

    stream = method.settled(fold(map(bounded, parts), zero), round_number=1)
    shards = method.settled(one + zero + two, round_number=1)

    assert stream.devices == shards.devices == len(parts)
    for key, array in stream.arrays().items():
        np.testing.assert_allclose(shards.arrays()[key], array, rtol=0, atol=1e-9)


def test_a_row_is_cut_to_twice_the_middle_device_s_usual_length() -> None:
    # Three quarters of the devices' rows are no longer than 1, 2 and 100; the lower median is 2.
    devices = [RowSums.of_rows(np.array([[length, 0.0]] * 4)) for length in (1.0, 2.0, 100.0)]
    norms = fold(map(Norms.of_rows, devices), Norms())
    assert norms.usual() == 2
    clipped = [clipped_rows(device, norms).totals[0, 0] for device in devices]
    assert clipped == [1, 2, 4]


def test_devices_that_do_not_move_set_no_limit() -> None:
    devices = [RowSums.of_rows(np.full((2, 2), value)) for value in (0.0, 0.0, 3.0)]
    norms = fold(map(Norms.of_rows, devices), Norms())
    assert norms.usual() == pytest.approx(3 * 2**0.5)
    assert Norms().usual() == 0


def test_trust_is_the_cosine_with_the_labels_of_a_class() -> None:
    labels = RowLabels(np.array([0, 1, 2]), np.array([0, 0, 1]))
    right = np.array([[1.0, 0], [1, 0], [0, 1], [5, 5]])  # the last row has no label
    wrong = right[:, ::-1]
    half = np.array([[1.0, 1], [-1, 0], [0, 0], [5, 5]])  # of class 0 it moves one row as far as back
    fold_ = Trust(labels)

    said = [fold_.part(RowSums.of_rows(rows)) for rows in (right, wrong, half)]

    np.testing.assert_allclose(said[0].totals, right)
    assert not said[1].totals.any()
    np.testing.assert_allclose(said[2].totals[:, 0], half[:, 0])  # a cosine of 0 is within the slack
    assert said[2].weights.tolist() == [1, 1, 1, 1]  # it counts as one of n all the same


def test_what_is_not_trusted_of_a_soft_label_is_what_was_known_before() -> None:
    labels, before = RowLabels(np.array([0, 1]), np.array([0, 1])), np.array([[0.6, 0.4], [0.6, 0.4]])
    votes = [
        VoteSums.at_places(np.array(rows), np.ones((2, 2)), np.array([0, 1]), of=2)
        for rows in ([[0.9, 0.1], [0.1, 0.9]], [[0.1, 0.9], [0.9, 0.1]])
    ]
    total = fold((Trust(labels).part(vote, before=before) for vote in votes), VoteSums.zero(2, 2))
    np.testing.assert_allclose(total.mean(), [[0.75, 0.25], [0.35, 0.65]])


def test_a_class_mean_counts_as_far_as_it_speaks_for_its_class() -> None:
    honest_, liar = np.eye(3) * 0.7 + 0.1, np.roll(np.eye(3), 1, axis=1)
    before = np.full((3, 3), 1 / 3)
    said = [OwnClass().part(RowSums.of_rows(rows), before=before) for rows in (honest_, liar)]
    np.testing.assert_allclose((said[0] + said[1]).result(), (honest_ + 1 / 3) / 2)


def test_a_trimmed_mean_leaves_three_of_ten_out_at_each_end() -> None:
    answers = np.array([-100, -100, -100, 1, 2, 3, 4, 100, 100, 100.0])[:, None, None]
    assert trimmed_mean(answers, share=0.3) == 2.5
    some = np.concatenate([answers, np.full((5, 1, 1), np.nan)])  # these did not answer
    assert trimmed_mean(some, share=0.3) == 2.5


@pytest.mark.parametrize("kind", [Median, Trimmed, Nearest])
def test_folds_that_compare_devices_do_not_hear_three_of_ten(kind: Any) -> None:
    rng = np.random.default_rng(0)
    devices = [RowSums.of_rows(rng.normal(1, 0.1, (4, 3))) for _ in range(7)]
    liars = [RowSums.of_rows(np.full((4, 3), -50.0)) for _ in range(3)]
    zero = RowSums.zero(4, 3)

    total = fold(map(kind().part, [*devices, *liars]), kind().zero(zero))
    mean = kind().result(total, zero=zero)

    assert mean.devices == 10
    np.testing.assert_allclose(mean.result(), 0.7 if kind is Nearest else 1, atol=0.15)


def test_the_answers_that_are_kept_are_bounded_and_do_not_depend_on_the_order() -> None:
    parts = [Answers.of(RowSums.of_rows(np.array([[float(device)]]))) for device in range(MOST_DEVICES + 8)]
    forth, back = fold(parts, Answers()), fold(parts[::-1], Answers())
    assert len(forth.kept) == MOST_DEVICES
    assert [one.digest for one in forth.kept] == [one.digest for one in back.kept]
    assert forth.devices == MOST_DEVICES + 8


def test_folds_are_refused_by_name_where_they_do_not_work() -> None:
    for name, fold_name, changes, words in (
        ("fedstill", "own-class", {}, "'own-class' is not a fold of shifts of public rows: auto, mean"),
        ("fedavg", "trust", {}, "'trust' is not a fold of students"),
        ("fedstill", "trust", {"use_public_labels": False}, "knows no label of a public example"),
        ("fedstill", "nearest", {"mode": "async"}, "not a fold of mode async"),
    ):
        with pytest.raises(ConfigError, match=words):
            fleet_config(name, {"fold": fold_name}, **changes)
