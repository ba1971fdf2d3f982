"""Methods of class prototypes: two devices, three classes, and prototypes that can be worked out on paper."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from fedstill_proto.messages import ClassSoftLabels, PrivateStatistics, SoftLabelSummary, SummaryKind
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels
from fedstill_server.consensus.aggregation import Both, ClassVectors, RowSums, fold
from fedstill_server.methods import build_method
from fedstill_server.methods.artifact_options import artifact_options
from fedstill_server.methods.fedhkd import MEANS
from fedstill_server.methods.fedproto import PROTOTYPES, SEEN, FedProto, likeness
from fedstill_server.methods.trainable_prototypes import adaptive_margin, contrastive_loss
from fedstill_server.rounds.preparation import prepare
from fedstill_server.state import FleetState

from tests.server.scripted_fleet import CLASSES, fleet_config, public_examples

FAMILY = "mlp-small"
# Prototypes of two anchors: a device with classes 0 and 1, another with 0 and 2.
ONE = ([0, 1], [3, 2], [[0.4, 0.0], [0.0, 0.8]])
OTHER = ([0, 2], [1, 5], [[0.8, 0.4], [-0.6, 0.0]])
LABELS = [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]


def started(name: str, **options: Any) -> tuple[FedProto, FleetState]:
    config = fleet_config(name, {"anchors": 2, **options})
    public = public_examples()
    method = build_method(config, public)
    assert isinstance(method, FedProto)
    return method, prepare(config, public, method)


def told(method: FedProto, state: FleetState, device: Any) -> SoftLabelSummary:
    present, examples, features = device
    task = method.task(state, round_number=1, family=FAMILY, newcomer=True)
    with_labels = task.request.kind is SummaryKind.CLASS_MEANS
    statistics = PrivateStatistics(
        soft_labels=DenseSoftLabels(np.array(LABELS, np.float32)) if with_labels else None,
        present_classes=np.array(present),
        class_examples=np.array(examples),
        features=np.array(features, np.float32),
    )
    return SoftLabelSummary(task.run, task.round, task.family, task.request.kind, statistics)


def summed(method: FedProto, state: FleetState, *devices: Any) -> Any:
    contribution = method.contribution(state, round_number=1)
    return fold([contribution(told(method, state, one)) for one in devices], method.zero(round_number=1))


def learned(method: FedProto, state: FleetState, *devices: Any) -> FleetState:
    return method.learn(state, summed(method, state, *devices), round_number=1)


def test_prototypes_are_means_over_the_devices_of_the_fleet() -> None:
    method, state = started("fedproto")
    after = learned(method, state, ONE, OTHER)
    # Class 0: ((.4, 0) + (.8, .4)) / 2, though one of the two claims three times the examples.
    np.testing.assert_allclose(after.arrays[PROTOTYPES], [[0.6, 0.2], [0, 0.8], [-0.6, 0]], atol=1e-6)
    assert after.arrays[SEEN].tolist() == [1, 1, 1]
    later = learned(method, after, ([1], [4], [[1.0, 0.0]]))
    np.testing.assert_allclose(later.arrays[PROTOTYPES], [[0.6, 0.2], [1, 0], [-0.6, 0]], atol=1e-6)


def test_soft_labels_say_which_classes_are_alike() -> None:
    # 0 and 1 are 1 apart, 2 is 3 and 2 away: squares 1, 9, 4, whose mean is 14 / 3.
    found = likeness(np.array([[0.0], [1.0], [3.0]]), sharpness=14 / 3)
    powers = np.exp(-np.array([[0, 1, 9], [1, 0, 4], [9, 4, 0]]))
    np.testing.assert_allclose(found, powers / powers.sum(axis=1, keepdims=True), atol=1e-9)
    np.testing.assert_allclose(likeness(np.zeros((2, 3)), sharpness=8), np.full((2, 2), 0.5))


def test_tasks_bring_a_soft_label_for_each_class_that_was_seen() -> None:
    method, state = started("fedproto")
    first = method.task(state, round_number=1, family=FAMILY, newcomer=True)
    assert first.soft_targets is None
    assert first.request.kind is SummaryKind.CLASS_PROTOTYPES
    assert first.request.anchor_rows.tolist() == method.anchor_rows.tolist()
    task = method.task(learned(method, state, ONE), round_number=2, family=FAMILY, newcomer=False)
    assert isinstance(task.soft_targets, ClassSoftLabels)
    assert task.soft_targets.present_classes.tolist() == [0, 1]
    labels = task.soft_targets.soft_labels.dense()
    assert (labels[:, 2] == 0).all()  # nothing is known of class 2
    # At a temperature of 2: softmax of (0, -8) / 2, as there is one distance only.
    np.testing.assert_allclose(labels[0, :2], np.array([1, np.exp(-4)]) / (1 + np.exp(-4)), atol=1e-6)
    assert not task.parameters


def test_hyper_knowledge_is_both_and_teaches_their_mean() -> None:
    method, state = started("fedhkd")
    total = summed(method, state, ONE, OTHER)
    assert isinstance(total, Both)
    assert total.devices == 2
    after = method.learn(state, total, round_number=1)
    np.testing.assert_allclose(after.arrays[PROTOTYPES][0], [0.6, 0.2], atol=1e-6)
    # Class 0 has four examples of the first label, 1 two of the second and 2 five of it.
    np.testing.assert_allclose(after.arrays[MEANS], [LABELS[0], LABELS[1], LABELS[1]], atol=1e-6)
    targets = method.targets(after)
    assert targets is not None
    alike = FedProto.taught(method, after, np.arange(3))
    np.testing.assert_allclose(targets.soft_labels.dense(), (after.arrays[MEANS] + alike) / 2, atol=1e-6)


def test_the_margin_is_that_of_the_loneliest_class() -> None:
    # Means at 0, 1 and 4: the nearest other is 1, 1 and 3 away.
    vectors = np.array([[-1.0], [1.0], [1.0], [4.0]])
    assert adaptive_margin(vectors, np.array([0, 0, 1, 2])) == pytest.approx(3)
    assert adaptive_margin(vectors[:1], np.array([5])) == 0


def test_the_contrastive_loss_by_hand() -> None:
    prototypes, vectors = torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.tensor([[0.0, 0.0]])
    loss = contrastive_loss(prototypes, vectors, torch.tensor([0]), margin=2.0)
    # Distances 0 + 2 and 5.
    assert float(loss[0]) == pytest.approx(-np.log(np.exp(-2) / (np.exp(-2) + np.exp(-5))), abs=1e-5)
    nearer = contrastive_loss(prototypes, vectors, torch.tensor([0]), margin=0.0)
    assert 0 <= float(nearer[0]) < float(loss[0])


def test_trained_prototypes_stand_further_apart_than_means() -> None:
    rng = np.random.default_rng(0)
    given = [
        ([0, 1, 2], [1, 1, 1], np.clip(np.eye(3, 2) * 0.3 + rng.normal(0, 0.3, (3, 2)), -1, 1))
        for _ in range(6)
    ]

    def apart(name: str) -> float:
        method, state = started(name)
        prototypes = learned(method, state, *given).arrays[PROTOTYPES]
        return float(np.linalg.norm(prototypes[:, None] - prototypes, axis=-1)[np.triu_indices(3, 1)].min())

    assert apart("fedtgp") > 1.5 * apart("fedproto")


def test_trained_prototypes_go_on_where_they_were_and_stay_without_devices() -> None:
    method, state = started("fedtgp", server_epochs=3)
    one = learned(method, state, ONE, OTHER)
    two = learned(method, one, ONE, OTHER)
    assert not np.array_equal(one.arrays[PROTOTYPES], two.arrays[PROTOTYPES])
    nobody = ClassVectors(np.zeros((0, 2)), np.zeros(0, np.int64), np.zeros(0), 1)
    assert method.learn(two, nobody, round_number=3) is two


def test_devices_need_a_graph_that_gives_features() -> None:
    assert artifact_options(fleet_config("fedproto"), FAMILY).features
    assert not artifact_options(fleet_config("class-logits"), FAMILY).features


def test_sums_of_both_and_of_vectors_are_sums() -> None:
    one = ClassVectors(np.array([[2.0]]), np.array([1]), np.ones(1), 1)
    other = ClassVectors(np.array([[1.0]]), np.array([1]), np.ones(1), 1)
    assert (one + other).vectors.tolist() == (other + one).vectors.tolist() == [[1], [2]]
    both = Both(RowSums.zero(1, 1), one) + Both(RowSums.zero(1, 1), other.weighted(0.5))
    assert sorted(both.arrays()) == [
        "first/totals",
        "first/weights",
        "second/classes",
        "second/vectors",
        "second/weights",
    ]
    assert both.arrays()["second/weights"].tolist() == [0.5, 1]
    assert CLASSES == 3
