"""FedDF and FedGKT, whose server does the distilling: two devices, three classes, and sums on paper."""

from __future__ import annotations

from typing import Any

import numpy as np
from fedstill_proto.messages import PrivateStatistics, SoftLabelSummary, SummaryKind
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels
from fedstill_server.consensus.aggregation import Both, RowSums, fold
from fedstill_server.methods import build_method
from fedstill_server.methods.feddf import FedDf, bounded_logits
from fedstill_server.methods.fedgkt import FEATURED, FEATURES, SAID, FedGkt
from fedstill_server.methods.public_consensus import CONSENSUS
from fedstill_server.rounds.preparation import prepare
from fedstill_server.tasks import training_of
from fedstill_server.training.networks import soft_labels_of

from tests.server.scripted_fleet import CLASSES, PUBLIC, fleet_config, public_examples

FAMILIES = ("mlp-small", "cnn")


def started(name: str, **changes: Any) -> tuple[Any, Any]:
    options = {"anchors": 2} if name == "fedgkt" else {}
    config = fleet_config(name, options, families=FAMILIES, **changes)
    public = public_examples()
    method = build_method(config, public)
    return method, prepare(config, public, method)


def test_the_ensemble_is_a_softmax_of_mean_logits() -> None:
    method, _ = started("feddf")  # at a temperature of 2
    assert isinstance(method, FedDf)
    one, other = np.tile([2.0, 0, -2], (PUBLIC, 1)), np.zeros((PUBLIC, CLASSES))
    found = method.ensemble(RowSums.of_rows(one) + RowSums.of_rows(other))
    powers = np.exp([0.5, 0, -0.5])
    np.testing.assert_allclose(found, np.tile(powers / powers.sum(), (PUBLIC, 1)), atol=1e-6)


def test_students_of_both_families_are_in_it_and_are_averaged_apart() -> None:
    method, state = started("feddf")
    assert isinstance(method, FedDf)
    contribution = method.contribution(state, round_number=1)
    parts = []
    for number, family in enumerate((*FAMILIES, "cnn")):
        moved = {name: array + np.float32(number) for name, array in state.students[family].items()}
        statistics = PrivateStatistics(parameters=moved, examples=1 + number)
        parts.append(
            contribution(SoftLabelSummary("0123abcd", 1, family, SummaryKind.PARAMETERS, statistics))
        )
    total: Both[Any, Any] = fold(parts, method.zero(round_number=1))

    assert total.devices == 3
    moved = total.first.result()
    assert sorted(moved) == sorted(FAMILIES)
    # (1 + 2) / 2 is added to the convolutional student.
    np.testing.assert_allclose(moved["cnn"]["output.bias"], 1.5, atol=1e-5)
    start = training_of(method.config).student("mlp-small", state.students["mlp-small"])
    own = bounded_logits(soft_labels_of(start, method.public.x, temperature=1.0))
    np.testing.assert_allclose(parts[0].second.result(), own, atol=1e-9)


def test_no_student_outweighs_the_others() -> None:
    method, state = started("feddf")
    mad = {name: np.full_like(array, 1e38) for name, array in state.students["mlp-small"].items()}
    statistics = PrivateStatistics(parameters=mad, examples=0)
    summary = SoftLabelSummary("0123abcd", 1, "mlp-small", SummaryKind.PARAMETERS, statistics)
    logits = method.contribution(state, round_number=1)(summary).second.result()
    assert np.abs(logits).max() <= -np.log(1e-6)
    assert not bounded_logits(np.full((2, 3), np.nan, np.float32)).any()


def answer(method: FedGkt, state: Any, labels: list[float], features: list[float]) -> SoftLabelSummary:
    task = method.task(state, round_number=1, family="cnn", newcomer=True)
    rows = len(task.request.public_rows)
    statistics = PrivateStatistics(
        soft_labels=DenseSoftLabels(np.tile(np.array(labels, np.float32), (rows, 1))),
        features=np.tile(np.array(features, np.float32), (rows, 1)),
    )
    return SoftLabelSummary(task.run, task.round, task.family, task.request.kind, statistics)


def test_features_and_soft_labels_are_means_and_the_server_answers() -> None:
    method, state = started("fedgkt", public_batch=4)
    assert isinstance(method, FedGkt)
    rows = method.asked_rows(state, 1)
    assert method.task(state, round_number=1, family="cnn", newcomer=True).request.anchor_rows.size == 2
    contribution = method.contribution(state, round_number=1)
    total = contribution(answer(method, state, [0.6, 0.4, 0.0], [1, 0])) + contribution(
        answer(method, state, [0.8, 0.0, 0.2], [0, -0.5])
    )

    after = method.learn(state, total, round_number=1)

    np.testing.assert_allclose(after.arrays[FEATURES][rows], np.tile([0.5, -0.25], (4, 1)), atol=1e-6)
    np.testing.assert_allclose(after.arrays[CONSENSUS][rows], np.tile([0.7, 0.2, 0.1], (4, 1)), atol=1e-6)
    assert np.flatnonzero(after.arrays[FEATURED]).tolist() == rows.tolist()
    # The server sees features only: rows with the same ones are answered alike, and the others as before.
    assert np.ptp(after.arrays[SAID][rows], axis=0).max() < 1e-6
    others = np.setdiff1d(np.arange(PUBLIC), rows)
    np.testing.assert_array_equal(after.arrays[SAID][others], state.arrays[SAID][others])
    taught = method.taught(after)
    np.testing.assert_allclose(taught.sum(axis=1), 1, atol=1e-5)


def test_the_server_s_network_goes_on_where_it_was() -> None:
    method, state = started("fedgkt")
    total = method.contribution(state, round_number=1)(answer(method, state, [0.6, 0.3, 0.1], [1, 0]))
    one = method.learn(state, total, round_number=1)
    two = method.learn(one, total, round_number=2)
    named = {name for name in one.arrays if name.startswith("server_network/")}
    assert named
    assert any(not np.array_equal(one.arrays[name], two.arrays[name]) for name in named)
