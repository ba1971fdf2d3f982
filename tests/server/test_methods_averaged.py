"""FedAvg's relatives: what they ask for, and what two answers come to on paper."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from fedstill_proto.codec.api import Expected, decode_task, encode_summary, encode_task
from fedstill_proto.messages import PersonalPlan, PrivateStatistics, SoftLabelSummary, SummaryKind
from fedstill_server.config.codec import ConfigError
from fedstill_server.config.fleet import CohortRule
from fedstill_server.consensus.aggregation import fold
from fedstill_server.methods import build_method
from fedstill_server.methods.artifact_options import artifact_options
from fedstill_server.methods.checks import checked_fleet
from fedstill_server.rounds.preparation import prepare
from fedstill_server.state import FleetState

from tests.server.scripted_fleet import CLASSES, fleet_config, public_examples

FAMILY = "mlp-small"


def started(name: str, options: dict[str, Any] | None = None, **changes: Any) -> tuple[Any, FleetState]:
    config, public = fleet_config(name, options or {}, **changes), public_examples()
    method = build_method(config, public)
    return method, prepare(config, public, method)


def learned(method: Any, state: FleetState, answers: list[PrivateStatistics]) -> FleetState:
    says = method.contribution(state, round_number=1)
    parts = (says(SoftLabelSummary("r", 1, FAMILY, SummaryKind.PARAMETERS, one)) for one in answers)
    total = fold(parts, method.zero(round_number=1))
    after: FleetState = method.learn(state, total, round_number=1)
    return after


def moved_by(state: FleetState, student: float, control_variates: float) -> PrivateStatistics:
    """The answer of a device all of whose numbers moved so far."""
    return PrivateStatistics(
        parameters={n: v + np.float32(student) for n, v in state.students[FAMILY].items()},
        examples=7,
        control_variates={n: np.full_like(v, control_variates) for n, v in state.students[FAMILY].items()},
    )


@pytest.mark.parametrize(("fraction", "share"), [(0.0, 1.0), (0.25, 0.25)])
def test_scaffold_moves_the_fleets_control_variates_by_the_share_that_was_asked(
    fraction: float, share: float
) -> None:
    method, state = started("scaffold", {"fold": "mean"}, cohort=CohortRule(fraction=fraction))
    task = method.task(state, round_number=1, family=FAMILY, newcomer=False)
    assert all((array == 0).all() for array in task.control_variates.values())

    after = learned(method, state, [moved_by(state, 1, 2), moved_by(state, 3, 4)])

    task = method.task(after, round_number=2, family=FAMILY, newcomer=False)
    for name, before in state.students[FAMILY].items():
        np.testing.assert_allclose(after.students[FAMILY][name], before + 2, atol=1e-6)
        np.testing.assert_allclose(task.control_variates[name], 3 * share, atol=1e-6)


def test_scaffolds_answers_are_twice_a_students() -> None:
    method, state = started("scaffold")
    sizes = {}
    for one in (method, started("fedavg")[0]):
        task = one.task(state, round_number=1, family=FAMILY, newcomer=False)
        blob = encode_task(task, codec=one.config.downlink)
        answer = moved_by(state, 1, 2)
        if not task.control_variates:
            answer = PrivateStatistics(parameters=answer.parameters, examples=7)
        summary = SoftLabelSummary(task.run, 1, FAMILY, SummaryKind.PARAMETERS, answer)
        sent = encode_summary(summary, codec=None)
        limit = Expected.of(decode_task(blob), CLASSES, state.students[FAMILY]).size_limit_bytes
        assert len(sent) <= limit
        sizes[one.config.method.name] = len(blob), len(sent)
    for both, alone in zip(sizes["scaffold"], sizes["fedavg"], strict=True):
        assert both == pytest.approx(2 * alone, rel=0.05)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cohort": CohortRule(goal_count=2)}, "cohort.goal_count: 2 is not 0"),
        ({"mode": "async"}, "mode: 'async' is not rounds"),
    ],
)
def test_what_scaffold_cannot_do_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        checked_fleet(fleet_config("scaffold", {}, **changes))


@pytest.mark.parametrize(
    ("method_name", "family", "local"),
    [
        ("fedper", "mlp-small", {"output.weight", "output.bias"}),
        ("fedper", "cnn-norm", {"output.weight", "output.bias"}),
        ("fedrep", "mlp-small", {"output.weight", "output.bias"}),
        ("fedbn", "cnn-norm", {"norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"}),
    ],
)
def test_what_stays_on_devices_is_neither_sent_nor_averaged(
    method_name: str, family: str, local: set[str]
) -> None:
    method, state = started(method_name, {"fold": "mean"}, families=(family,))
    student = state.students[family]
    newcomers, others = (
        method.task(state, round_number=1, family=family, newcomer=newcomer) for newcomer in (True, False)
    )
    assert set(newcomers.training.local_parameters) == set(others.training.local_parameters) == local
    assert newcomers.parameters.keys() == student.keys()
    assert others.parameters.keys() == student.keys() - local
    saved = sum(4 * student[name].size for name in local)
    sizes = [len(encode_task(one, codec=method.config.downlink)) for one in (newcomers, others)]
    assert saved < sizes[0] - sizes[1] < saved + 40 * len(local)

    expected = Expected.of(others, CLASSES, student)
    assert {spec.name for spec in expected.parameters} == student.keys() - local
    moved = {name: array + np.float32(2) for name, array in others.parameters.items()}
    says = method.contribution(state, round_number=1)
    answer = PrivateStatistics(parameters=moved, examples=1)
    part = says(SoftLabelSummary("r", 1, family, SummaryKind.PARAMETERS, answer))
    after = method.learn(state, part, round_number=1).students[family]
    for name, before in student.items():
        np.testing.assert_allclose(after[name], before + 2 * (name not in local), atol=1e-6)


def test_what_cannot_go_with_parts_that_stay_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"personal_soft_weight: 0\.5 is not 0"):
        fleet_config("fedper", {"personal_epochs": 2})
    assert fleet_config("fedper", {"personal_epochs": 2, "personal_soft_weight": 0.0})
    with pytest.raises(ConfigError, match="students of 'cnn' have no normalization layer"):
        fleet_config("fedbn", families=("cnn-norm", "cnn"))
    with pytest.raises(ConfigError, match="students of 'mlp-small' have no last layer named output"):
        started("fedper")[0].local_parameters("mlp-small", {"hidden.weight": np.zeros(1, np.float32)})


@pytest.mark.parametrize(("body_epochs", "head_epochs"), [(1, 4), (2, 3), (9, 0)])
def test_fedreps_body_has_the_last_epochs(body_epochs: int, head_epochs: int) -> None:
    method, state = started("fedrep", {"body_epochs": body_epochs})
    plan = dataclasses.replace(method.config.training, epochs=5)
    method = build_method(dataclasses.replace(method.config, training=plan), method.public)
    task = method.task(state, round_number=1, family=FAMILY, newcomer=False)
    assert (task.training.epochs, task.training.local_epochs) == (5, head_epochs)


def test_dittos_owners_are_measured_with_their_own_students() -> None:
    method, state = started("ditto", {"proximal": 0.25})
    asked = {"round_number": 1, "family": FAMILY, "newcomer": False}
    task, measured = method.task(state, **asked), method.evaluation(state, **asked)
    assert task.personal is not None
    assert (task.personal.own, task.personal.proximal, task.training.proximal) == (True, 0.25, 0)
    assert task.personal.epochs == task.training.epochs
    assert task.replace_student
    assert not task.forgets
    assert not measured.parameters
    assert decode_task(encode_task(task, codec=method.config.downlink)).personal == task.personal


def test_devices_that_fine_tune_the_average_answer_with_what_they_made_of_it() -> None:
    method, state = started("fedavg-ft")
    asked: dict[str, Any] = {"round_number": 2, "family": FAMILY}

    task = method.task(state, newcomer=False, **asked)
    assert task.personal == PersonalPlan(epochs=20, learning_rate=0.125, soft_weight=0.0)
    assert task.training == method.config.training  # what is averaged is fedavg's
    assert task.replace_student
    measured = method.evaluation(state, newcomer=False, **asked)
    assert not measured.parameters
    assert not measured.replace_student
    assert method.evaluation(state, newcomer=True, **asked).replace_student  # it has made nothing yet
    assert artifact_options(method.config, FAMILY).soft_labels == "none"

    # One that keeps what the average knows reads soft labels, in steps of twice as many rows.
    method, state = started("fedavg", {"personal_epochs": 3, "personal_soft_weight": 0.25})
    plan = method.task(state, newcomer=False, **asked).personal
    assert plan == PersonalPlan(epochs=3, learning_rate=0.125, soft_weight=0.25)
    graph = artifact_options(method.config, FAMILY)
    assert (graph.soft_labels, graph.step_rows) == ("dense", 2 * method.config.training.batch_size)
