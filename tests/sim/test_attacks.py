"""Devices that lie: what they say by hand-checkable numbers, and what becomes of it in a real run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fedstill_proto.checks import MAX_UINT32
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import SummaryKind, SummaryRequest
from fedstill_proto.soft_labels.codec_spec import parse_codec
from fedstill_server.methods import METHODS
from fedstill_sim.attacks.answers import LabelAnswers, ParameterAnswers, softmax
from fedstill_sim.attacks.blind_spot import BlindSpot
from fedstill_sim.attacks.class_prior import ClassPrior
from fedstill_sim.attacks.count_inflation import CountInflation
from fedstill_sim.attacks.hidden import Hidden
from fedstill_sim.attacks.inside_clip import InsideClip
from fedstill_sim.attacks.interface import Attack, LabelView, ParameterView
from fedstill_sim.attacks.label_flip import LabelFlip
from fedstill_sim.attacks.little_is_enough import LittleIsEnough, allowed_deviations
from fedstill_sim.attacks.loss_maximization import LossMaximization
from fedstill_sim.attacks.mimic import Mimic
from fedstill_sim.attacks.min_max import farthest_unnoticed
from fedstill_sim.attacks.registry import ATTACKS, planned_attack, suits
from fedstill_sim.attacks.second_class import SecondClass
from fedstill_sim.attacks.sign_flip import SignFlip
from fedstill_sim.attacks.trim import Trim
from fedstill_sim.config import RunConfig, resolve
from fedstill_sim.data.fleet import FleetData
from fedstill_sim.request import RunRequest
from fedstill_sim.results.run_result import RunResult, without_times
from fedstill_sim.runner.in_memory import run_fleet

from tests.sim.sample_results import as_document
from tests.sim.test_run_in_memory import two_clouds

HONEST = [[[0.6, 0.3, 0.1], [0.1, 0.2, 0.7]], [[0.5, 0.4, 0.1], [0.2, 0.3, 0.5]]]  # two devices, two rows


def answers(probabilities: Any, *, counts: Any = None) -> LabelAnswers:
    soft = np.array(probabilities, np.float64)
    claimed = np.zeros((len(soft), soft.shape[2]), np.int64) if counts is None else np.array(counts)
    return LabelAnswers(probabilities=soft, said=np.ones(soft.shape[:2], np.bool_), counts=claimed)


def label_view(method: str = "public-logits", *, relative: bool = False, **changed: Any) -> LabelView:
    codec, rows = parse_codec("dense,8bit"), np.arange(2)
    known: dict[str, Any] = {
        "round": 1,
        "rounds": 10,
        "method": METHODS.load(method)(),
        "request": SummaryRequest(SummaryKind.PUBLIC_SET, codec, rows, relative=relative),
        "generator": np.random.default_rng(0),
        "honest": answers(HONEST),
        "own": answers([[[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]]]),
        "told": np.full((2, 3), 1 / 3),
        "labels": None,
        "x": np.zeros((2, 4), np.float32),
    }
    return LabelView(**{**known, **changed})


def student_view() -> ParameterView:
    return ParameterView(
        round=1,
        rounds=10,
        method=METHODS.load("fedavg")(),
        request=SummaryRequest(SummaryKind.PARAMETERS),
        generator=np.random.default_rng(0),
        honest=ParameterAnswers(parameters=np.array([[2.0, 1.0], [4.0, 1.0]]), examples=np.array([10, 20])),
        own=ParameterAnswers(parameters=np.array([[2.0, 2.0]]), examples=np.array([5])),
        start=np.array([1.0, 1.0]),
    )


def test_second_class_is_the_runner_up_of_the_honest_mean() -> None:
    said = SecondClass().soft_labels(label_view())
    np.testing.assert_array_equal(said.probabilities, [[[0, 1, 0], [0, 1, 0]]])


def test_where_devices_answer_how_far_they_moved_what_they_were_told_counts() -> None:
    told = np.array([[0.01, 0.01, 0.98], [1 / 3, 1 / 3, 1 / 3]])
    said = SecondClass().soft_labels(label_view("fedstill", relative=True, told=told))
    np.testing.assert_array_equal(said.probabilities, [[[1, 0, 0], [0, 1, 0]]])


def test_sign_flip_says_the_opposite_of_what_was_learned() -> None:
    said = SignFlip(scale=1).soft_labels(label_view())
    # 0.8 : 0.1 : 0.1 becomes 1/0.8 : 1/0.1 : 1/0.1
    np.testing.assert_allclose(said.probabilities[0, 0], np.array([1, 8, 8]) / 17)
    students = SignFlip(scale=2).parameters(student_view())
    np.testing.assert_allclose(students.parameters, [[-1, -1]])
    assert students.examples.tolist() == [5]


def test_count_inflation_claims_what_a_message_can_hold() -> None:
    said = CountInflation().parameters(student_view())
    np.testing.assert_allclose(said.parameters, [[-1, 1]])
    assert said.examples.tolist() == [MAX_UINT32]


def test_lma_says_the_least_likely_class_and_hips_repeats_an_honest_row() -> None:
    view = label_view()
    np.testing.assert_array_equal(
        LossMaximization().soft_labels(view).probabilities, [[[0, 0, 1], [1, 0, 0]]]
    )
    hidden = Hidden().soft_labels(view).probabilities[0]
    for row, said in enumerate(hidden.tolist()):
        assert said in [device[row] for device in HONEST]


def test_cpa_says_the_class_whose_probability_falls_where_the_likeliest_rises() -> None:
    rows = [[0.5, 0.4, 0.1], [0.4, 0.5, 0.1], [0.1, 0.1, 0.8]]
    view = label_view(
        honest=answers([rows]), own=answers([rows]), told=np.full((3, 3), 1 / 3), x=np.zeros((3, 4))
    )
    said = ClassPrior().soft_labels(view).probabilities[0].argmax(axis=1)
    assert said[0] == said[1] == 2
    assert said[2] in (0, 1)


def test_blind_spot_has_the_cosine_with_the_labels_that_it_aims_at() -> None:
    generator = np.random.default_rng(1)
    labels = np.arange(60) % 3
    honest = softmax(generator.normal(size=(5, 60, 3)) + np.eye(3)[labels])
    uniform = np.full((60, 3), 1 / 3)
    view = label_view("fedstill", relative=True, honest=answers(honest), labels=labels, told=uniform)

    said = BlindSpot(trust=0.6).soft_labels(replace(view, own=answers(honest[:1])))

    moves = said.logits(1e-9)[0]
    columns, truth = moves - moves.mean(axis=0), np.eye(3)[labels] - np.eye(3)[labels].mean(axis=0)
    cosines = (columns * truth).sum(axis=0) / np.linalg.norm(columns, axis=0) / np.linalg.norm(truth, axis=0)
    np.testing.assert_allclose(cosines, 0.6, atol=0.12)
    assert (moves * view.harm).sum() > -0.6 * np.abs(moves).sum()  # and less truth than one who tells it


def test_min_max_is_no_farther_from_anyone_than_honest_devices_are_apart() -> None:
    honest = np.array([[0.0, 0.0], [2.0, 0.0], [1.0, 1.0]])
    step = farthest_unnoticed(honest, np.array([0.0, -1.0]))
    liar = honest.mean(axis=0) + step * np.array([0.0, -1.0])
    assert np.linalg.norm(honest - liar, axis=1).max() == pytest.approx(2)


def test_those_that_know_the_fold_stay_where_honest_answers_are() -> None:
    view = student_view()  # honest moves (1, 0) and (3, 0), mean (2, 0)
    assert Mimic().parameters(view).parameters.tolist() in ([[2, 1]], [[4, 1]])
    assert InsideClip().parameters(view).parameters.tolist() == [[0, 1]]
    assert Trim(beyond=0).parameters(view).parameters.tolist() == [[2, 1]]
    assert LittleIsEnough(z=1).parameters(view).parameters.tolist() == [[2, 1]]
    # Of 20 devices with 4 liars: 7 supporters, and 9 of 16 below.
    assert allowed_deviations(16, 4) == pytest.approx(0.157, abs=1e-3)


def test_an_attack_that_makes_no_sense_for_a_method_is_refused_with_the_reason() -> None:
    assert suits("second-class", "local")
    with pytest.raises(
        FedstillError, match="second-class makes no sense for fedavg: its devices answer with"
    ):
        asked(method="fedavg", attack="second-class")
    with pytest.raises(FedstillError, match="count-inflation makes no sense for fedstill: its devices claim"):
        asked(method="fedstill", attack="count-inflation")
    with pytest.raises(FedstillError, match="belong together"):
        RunRequest(dataset="digits", attack="second-class")
    with pytest.raises(FedstillError, match=r"did you mean .*second-class"):
        asked(attack="second-clas")


def test_options_of_an_attack_are_read_and_checked() -> None:
    plan = asked(attack="sign-flip", attack_options=("scale=2",)).attack_plan
    assert plan is not None
    assert plan.made == SignFlip(scale=2.0)
    with pytest.raises(FedstillError, match="scale"):
        asked(attack="sign-flip", attack_options=("scale=-1",))
    with pytest.raises(FedstillError, match="speed"):
        asked(attack="sign-flip", attack_options=("speed=1",))


def test_a_larger_share_of_one_seed_holds_the_smaller_one() -> None:
    few = planned_attack("random", {}, share=0.1).adversaries(20, seed=3)
    many = planned_attack("random", {}, share=0.4).adversaries(20, seed=3)
    assert len(few) == 2
    assert len(many) == 8
    assert set(few) < set(many)


def asked(**changed: Any) -> RunRequest:
    given = {"method": "fedstill", "adversaries": 0.4, "attack": "second-class", **changed}
    return RunRequest(dataset="digits", rounds=2, baselines=("local",), tradeoff=False, processes=0, **given)


def run(folder: Path, data: FleetData, **changed: Any) -> tuple[RunConfig, RunResult]:
    config = resolve(asked(baselines=(), **changed) if "baselines" in changed else asked(**changed), data)
    return config, run_fleet(data, config, folder)


def test_adversaries_lie_and_are_not_measured(tmp_path: Path) -> None:
    data = two_clouds(5)

    plain = {"fold": "mean"}  # robust ones do not hear these liars
    _, honest = run(tmp_path / "honest", data, adversaries=None, attack=None, method_options=plain)
    config, attacked = run(tmp_path / "attacked", data, method_options=plain)
    _, again = run(tmp_path / "again", data, method_options=plain)

    assert attacked.attack is not None
    liars = set(attacked.attack.adversaries)
    assert len(liars) == 2
    assert (attacked.attack.lies, attacked.attack.quarantined) == (4, 0)
    assert {one.name for one in attacked.devices if one.global_accuracy is None} == liars
    assert attacked.rounds[0].consensus_digest != honest.rounds[0].consensus_digest
    assert without_times(as_document(attacked)) == without_times(as_document(again))
    # The fleet is the same in all else, and so is what is beside it: local devices hear no lies.
    assert honest.config["fleet"] == config.to_json()["fleet"]
    by_name = {one.name: one.global_accuracy for one in honest.baselines["local"].devices}
    for device in attacked.baselines["local"].devices:
        assert device.global_accuracy == (None if device.name in liars else by_name[device.name])


def test_false_training_data_are_the_adversaries_alone(tmp_path: Path) -> None:
    data = two_clouds(5)
    adversaries = np.array([1, 3])
    flipped = LabelFlip().poisoned(data, adversaries, np.random.default_rng(0))
    for device in range(5):
        before, after = data.y[data.train[device]], flipped.y[flipped.train[device]]
        np.testing.assert_array_equal(after, 1 - before if device in adversaries else before)

    boosted = {"method": "fedavg", "attack": "backdoor", "attack_options": ("boost=20", "share=0.9")}
    boosted["epochs"] = 5
    _, plain = run(tmp_path / "plain", data, method_options={"fold": "mean"}, **boosted)
    rounded = {"fold": "clipped", "weights": "4bit"}  # liars move students in the bits of the round, too
    _, clipped = run(tmp_path / "clipped", data, method_options=rounded, **boosted)

    assert plain.attack is not None
    assert clipped.attack is not None
    assert plain.attack.success is not None
    assert plain.attack.success > 0.5  # with both points' last numbers in the other cloud
    assert clipped.attack.success == 0
    (student,) = clipped.students.values()
    for sent in (clipped.final.uplink_bytes_per_device_round, clipped.final.downlink_bytes_per_device_round):
        assert student.parameters / 2 < sent < student.parameters / 2 + 300  # names, shapes and scales
    assert plain.final.uplink_bytes_per_device_round > student.parameters


def test_an_infinite_student_is_a_result_and_no_traceback(tmp_path: Path) -> None:
    plain = {"fold": "mean"}
    _, result = run(tmp_path, two_clouds(5), method="fedavg", attack="huge-weights", method_options=plain)
    assert result.final.global_accuracy is not None
    assert result.final.global_accuracy < 0.7


@pytest.mark.parametrize("method", ["fedper", "scaffold"])
def test_lies_of_a_part_of_a_student_and_beside_control_variates_are_heard(
    tmp_path: Path, method: str
) -> None:
    _, result = run(tmp_path, two_clouds(5), method=method, attack="sign-flip")
    assert result.attack is not None
    assert result.attack.lies > 0
    assert result.attack.quarantined == 0


def test_an_attack_of_ones_own_says_only_what_can_be_said(tmp_path: Path) -> None:
    class Silent(Attack):
        line = "says nothing of the right shape"

        def soft_labels(self, view: LabelView) -> LabelAnswers:
            return answers([[[1.0]]])

    ATTACKS.register("silent", Silent)
    with pytest.raises(FedstillError, match=r"attack silent: probabilities \[1, 1, 1\]"):
        run(tmp_path, two_clouds(5), attack="silent")
