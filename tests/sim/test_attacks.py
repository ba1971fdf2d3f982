"""Devices that lie: what they say by hand-checkable numbers, and what becomes of it in a real run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fedstill_proto.checks import MAX_UINT32
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import SummaryKind, SummaryRequest
from fedstill_proto.soft_labels.codec_spec import parse_codec
from fedstill_server.methods import METHODS
from fedstill_sim.attacks.answers import LabelAnswers, ParameterAnswers
from fedstill_sim.attacks.count_inflation import CountInflation
from fedstill_sim.attacks.interface import Attack, LabelView, ParameterView
from fedstill_sim.attacks.registry import ATTACKS, planned_attack, suits
from fedstill_sim.attacks.second_class import SecondClass
from fedstill_sim.attacks.sign_flip import SignFlip
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

    _, honest = run(tmp_path / "honest", data, adversaries=None, attack=None)
    config, attacked = run(tmp_path / "attacked", data)
    _, again = run(tmp_path / "again", data)

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


def test_an_attack_of_ones_own_says_only_what_can_be_said(tmp_path: Path) -> None:
    class Silent(Attack):
        line = "says nothing of the right shape"

        def soft_labels(self, view: LabelView) -> LabelAnswers:
            return answers([[[1.0]]])

    ATTACKS.register("silent", Silent)
    with pytest.raises(FedstillError, match=r"attack silent: probabilities \[1, 1, 1\]"):
        run(tmp_path, two_clouds(5), attack="silent")
