"""Methods of the public set: two devices, three classes, and a consensus that can be worked out on paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fedstill_proto.codec.api import decode_task, encode_task
from fedstill_proto.messages import (
    PrivateStatistics,
    PublicSoftLabels,
    RoundTask,
    SoftLabelSummary,
    SummaryKind,
)
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels
from fedstill_server.config.fleet import ConfigError, FleetConfig
from fedstill_server.consensus.aggregation import fold
from fedstill_server.data.examples import Examples
from fedstill_server.methods import METHODS, build_method
from fedstill_server.methods.checks import checked_fleet
from fedstill_server.methods.dsfl import reduced_entropy
from fedstill_server.methods.public_consensus import CONSENSUS, KNOWN, PublicConsensus
from fedstill_server.methods.scarlet import enhanced
from fedstill_server.rounds.preparation import prepare
from fedstill_server.state import FleetState
from fedstill_server.tasks import training_of
from fedstill_server.training.networks import soft_labels_of

from tests.server.scripted_fleet import CLASSES, PUBLIC, fleet_config, public_examples

FAMILY = "mlp-small"
PUBLIC_METHODS = ("fedmd", "dsfl", "scarlet", "cfd", "selective")
# Of the two rows that are asked: both devices agree on the first, and not on the second.
ONE, OTHER = [[0.6, 0.4, 0.0], [0.8, 0.1, 0.1]], [[0.8, 0.0, 0.2], [0.2, 0.7, 0.1]]


def started(
    name: str, *, labelled: bool = False, options: dict[str, Any] | None = None, **changes: Any
) -> tuple[PublicConsensus, FleetState]:
    """A method at a temperature of 1, that asks two rows a round."""
    config = fleet_config(name, options, public_batch=2, **changes)
    if "training" not in changes:
        config = replace(config, training=replace(config.training, temperature=1.0))
    public = public_examples() if labelled else Examples(public_examples().x)
    method = build_method(config, public)
    assert isinstance(method, PublicConsensus)
    return method, prepare(config, public, method)


def told(
    method: PublicConsensus,
    state: FleetState,
    labels: Sequence[Sequence[float]],
    *,
    counts: Sequence[int] = (),
    answered: Sequence[bool] | None = None,
) -> SoftLabelSummary:
    task = method.task(state, round_number=1, family=FAMILY, newcomer=True)
    present = np.flatnonzero(counts).astype(np.int64)
    statistics = PrivateStatistics(
        soft_labels=DenseSoftLabels(np.array(labels, np.float32).reshape(-1, CLASSES)),
        present_classes=present,
        class_examples=np.array(counts, np.int64)[present],
        answered=None if answered is None else np.array(answered),
    )
    return SoftLabelSummary(task.run, task.round, task.family, task.request.kind, statistics)


def learned(method: PublicConsensus, state: FleetState, *answers: SoftLabelSummary) -> FleetState:
    contribution = method.contribution(state, round_number=1)
    total = fold(map(contribution, answers), method.zero(round_number=1))
    return method.learn(state, total, round_number=1)


def consensus_of(name: str, *answers: Any, **settings: Any) -> np.ndarray:
    """What everybody learns of the two asked rows, after these devices told theirs."""
    method, state = started(name, **settings)
    summaries = [
        told(method, state, answer)
        if isinstance(answer, list)
        else told(method, state, answer[0], **answer[1])
        for answer in answers
    ]
    after = learned(method, state, *summaries)
    return method.taught(after)[method.asked_rows(state, 1)]


def test_fedmd_takes_the_mean() -> None:
    np.testing.assert_allclose(
        consensus_of("fedmd", ONE, OTHER), [[0.7, 0.2, 0.1], [0.5, 0.4, 0.1]], atol=1e-6
    )


def test_dsfl_takes_a_softmax_of_the_mean() -> None:
    powers = np.exp([[7, 2, 1], [5, 4, 1]])
    wanted = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(consensus_of("dsfl", ONE, OTHER), wanted, atol=1e-6)
    np.testing.assert_allclose(
        reduced_entropy(np.array([[1.0, 0.0]]), temperature=1), [[0.731059, 0.268941]], atol=1e-6
    )


def test_scarlet_takes_a_power_of_the_mean() -> None:
    wanted = np.array([[49, 4, 1], [25, 16, 1]]) / np.array([[54], [42]])
    np.testing.assert_allclose(consensus_of("scarlet", ONE, OTHER), wanted, atol=1e-6)
    np.testing.assert_allclose(enhanced(np.array([[0.7, 0.3]]), exponent=1), [[0.7, 0.3]])


def test_selective_takes_the_mean_of_who_answered() -> None:
    first_only = (ONE[:1], {"answered": [True, False]})
    np.testing.assert_allclose(
        consensus_of("selective", first_only, OTHER), [[0.7, 0.2, 0.1], [0.2, 0.7, 0.1]], atol=1e-6
    )


def test_selective_leaves_out_what_stays_ambiguous() -> None:
    method, state = started("selective", options={"most_entropy": 0.8})
    after = learned(method, state, told(method, state, ONE), told(method, state, OTHER))
    # The entropies of (.7 .2 .1) and (.5 .4 .1) are .73 and .86 of log 3.
    assert np.flatnonzero(after.arrays[KNOWN]).tolist() == [method.asked_rows(state, 1)[0]]


def test_cfd_asks_for_one_bit_against_what_the_task_carries() -> None:
    method, state = started("cfd", labelled=True)
    task = method.task(state, round_number=1, family=FAMILY, newcomer=True)
    assert task.request.codec == SoftLabelCodec(Encoding.LEVELS, bits=1, entropy=True, delta=True)
    assert task.soft_targets is not None
    targets = task.soft_targets.soft_labels.dense()
    assert sorted(np.unique(targets)) == [0, 1]
    received = decode_task(encode_task(task, codec=method.config.downlink))
    assert received.request.base  # all asked rows have a target to be coded against


def test_cfd_sums_likeliest_classes() -> None:
    method, state = started("cfd")
    contribution = method.contribution(state, round_number=1)
    one, other = (
        [row.tolist() for row in method.codec.rounded(np.float32(rows)).dense()] for rows in (ONE, OTHER)
    )
    total = contribution(told(method, state, one)) + contribution(told(method, state, other))
    np.testing.assert_allclose(total.mean()[method.asked_rows(state, 1)], [[1, 0, 0], [0.5, 0.5, 0]])


def test_cfd_teaches_the_likeliest_class_of_the_teacher() -> None:
    method, state = started("cfd")
    after = learned(method, state, told(method, state, ONE), told(method, state, OTHER))
    rows = method.asked_rows(state, 1)
    view = soft_labels_of(
        training_of(method.config).teacher(after.teacher), method.public.x[rows], temperature=1
    )
    np.testing.assert_array_equal(method.taught(after)[rows], np.eye(CLASSES)[view.argmax(axis=1)])


def test_cfd_takes_the_bits_of_the_uplink() -> None:
    codec = SoftLabelCodec(Encoding.LEVELS, bits=3, entropy=True)
    assert started("cfd", uplink=codec)[0].codec == codec


@pytest.mark.parametrize("name", ["dsfl", "scarlet", "selective"])
def test_the_plan_s_temperature_is_undone_for_the_rule_and_redone_for_the_loss(name: str) -> None:
    plain = consensus_of(name, ONE, OTHER)
    training = replace(fleet_config().training, temperature=2.0)

    def soft(labels: list[list[float]]) -> list[list[float]]:
        roots = np.sqrt(labels)
        return (roots / roots.sum(axis=1, keepdims=True)).tolist()

    at_2 = consensus_of(name, soft(ONE), soft(OTHER), training=training)
    np.testing.assert_allclose(at_2, soft(plain.tolist()), atol=1e-5)


@pytest.mark.parametrize("name", PUBLIC_METHODS)
def test_tasks_keep_students_and_bring_what_is_known(name: str) -> None:
    method, state = started(name)
    assert method.task(state, round_number=1, family=FAMILY, newcomer=False).soft_targets is None
    after = learned(method, state, told(method, state, ONE))
    task = method.task(after, round_number=2, family=FAMILY, newcomer=False)
    assert isinstance(task.soft_targets, PublicSoftLabels)
    assert task.soft_targets.public_rows.tolist() == method.asked_rows(state, 1).tolist()
    assert not task.parameters
    assert task.request.kind is SummaryKind.PUBLIC_SET
    labelled = started(name, labelled=True)
    first = labelled[0].task(labelled[1], round_number=1, family=FAMILY, newcomer=True)
    assert isinstance(first.soft_targets, PublicSoftLabels)
    assert len(first.soft_targets.public_rows) == PUBLIC
    np.testing.assert_allclose(first.soft_targets.soft_labels.dense().sum(axis=1), 1, atol=1e-5)


def test_scarlet_asks_again_when_a_label_expires() -> None:
    method, state = started("scarlet", options={"cache_rounds": 7})
    rounds = PUBLIC // 2

    def asked(state: FleetState, number: int) -> RoundTask:
        return method.task(state, round_number=number, family=FAMILY, newcomer=False)

    for number in range(1, rounds + 1):
        rows = asked(state, number).request.public_rows
        assert len(rows) == 2
        labels = DenseSoftLabels(np.full((2, CLASSES), 1 / CLASSES, np.float32))
        answer = SoftLabelSummary(
            "0123abcd", number, FAMILY, SummaryKind.PUBLIC_SET, PrivateStatistics(labels)
        )
        state = method.learn(
            state, method.contribution(state, round_number=number)(answer), round_number=number
        )

    # Each of the 12 rows was answered in one of 6 rounds. In round 8 those of round 1 are 7 rounds old.
    assert asked(state, 7).request.kind is SummaryKind.NONE
    old = method.asked_rows(state, 8)
    assert set(old) <= set(method.asked_rows(started("scarlet")[1], 1))
    nothing = SoftLabelSummary("0123abcd", 7, FAMILY, SummaryKind.NONE, PrivateStatistics())
    total = method.contribution(state, round_number=7)(nothing)
    assert total.devices == 1
    after = method.learn(state, total, round_number=7)
    np.testing.assert_array_equal(after.arrays[CONSENSUS], state.arrays[CONSENSUS])


def weighting(*names: str) -> dict[str, Any]:
    return {"weighting": names}


def test_a_class_is_judged_by_who_has_examples_of_it() -> None:
    answers = ((ONE, {"counts": [5, 0, 0]}), (OTHER, {"counts": [0, 3, 0]}))
    found = consensus_of("fedmd", *answers, options=weighting("class-presence"))
    # Of the second row: class 0 by the first device (.8), 1 by the other (.7), 2 by both alike (.1).
    say = np.array([(0.8 + 0.01 * 0.2) / 1.01, (0.7 + 0.01 * 0.1) / 1.01, 0.1])
    np.testing.assert_allclose(found[1], say / say.sum(), atol=1e-6)


def test_a_device_that_is_not_sure_of_a_row_counts_less() -> None:
    unsure, sure = [[1 / 3, 1 / 3, 1 / 3]] * 2, [[0.0, 1.0, 0.0]] * 2
    found = consensus_of("fedmd", unsure, sure, options=weighting("confidence"))
    np.testing.assert_allclose(found[0], (np.array([0, 1, 0]) + 0.01 / 3) / 1.01, atol=1e-6)


def test_a_device_s_class_frequencies_are_taken_out() -> None:
    # 2, 0 and 0 examples: (3, 1, 1) / 5. What it says is its prior, so that nothing is left of it.
    says_its_prior = ([[0.6, 0.2, 0.2]] * 2, {"counts": [2, 0, 0]})
    found = consensus_of("fedmd", says_its_prior, options=weighting("label-prior"))
    np.testing.assert_allclose(found, np.full((2, 3), 1 / 3), atol=1e-6)


def test_rows_that_devices_disagree_on_move_less() -> None:
    method, state = started("fedmd", options=weighting("agreement"))
    before = np.tile(np.float32([0.2, 0.2, 0.6]), (PUBLIC, 1))
    state = state.replace(arrays={CONSENSUS: before, KNOWN: np.ones(PUBLIC, np.uint8)})
    one, other = [[1.0, 0, 0], [1.0, 0, 0]], [[1.0, 0, 0], [0, 1.0, 0]]
    after = learned(method, state, told(method, state, one), told(method, state, other))
    found = method.taught(after)[method.asked_rows(state, 1)]
    np.testing.assert_allclose(found[0], [1, 0, 0], atol=1e-6)
    step = 1 - np.log(2) / np.log(3)  # JSD of two devices that say different classes is log 2
    np.testing.assert_allclose(
        found[1], step * np.array([0.5, 0.5, 0]) + (1 - step) * np.array([0.2, 0.2, 0.6]), atol=1e-6
    )


def test_counts_are_asked_for_where_they_are_needed() -> None:
    for names, wanted in [((), False), (("confidence", "agreement"), False), (("label-prior",), True)]:
        method, state = started("fedmd", options=weighting(*names))
        request = method.task(state, round_number=1, family=FAMILY, newcomer=True).request
        assert request.class_counts == wanted


def test_a_weighting_that_does_not_exist_is_refused() -> None:
    document = fleet_config("fedmd").to_json()
    document["method"]["options"]["weighting"] = ["loudness"]
    config = FleetConfig.from_json(document)
    with pytest.raises(ConfigError, match=r"method fedmd: weighting: \('loudness',\) is not .* label-prior"):
        checked_fleet(config)


def test_every_public_method_is_here() -> None:
    assert set(PUBLIC_METHODS) == {
        name
        for name, method in ((name, METHODS.load(name)) for name in METHODS)
        if issubclass(method, PublicConsensus) and not method.features
    }
