"""Plans: rounds without training, figures with intervals, and what a plan may not be asked."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fedstill_proto.errors import FedstillError
from fedstill_server.config.fleet import CohortRule
from fedstill_server.privacy.accountant import epsilon_of_rounds, noise_for_epsilon
from fedstill_sim.cli import app
from fedstill_sim.energy.coefficients import EnergyRule, receiving_j, sending_j
from fedstill_sim.plan.planning import PlannedFigure, make_plan
from fedstill_sim.plan.request import PlanError, PlanOptions, PlanRequest, read_curve, rounds_to
from fedstill_sim.plan.rounds import PlannedRounds, RoundBytes, RoundNeverBegins, planned_rounds
from fedstill_sim.traces.columns import DAY_S, Windows
from fedstill_sim.traces.pace import TracePace
from fedstill_sim.traces.schedule import TraceSchedule
from typer.testing import CliRunner

ALWAYS = TracePace(rounds_a_day=None, least_devices=1)


def schedule(*compute_s: float, until_s: float = DAY_S, resumes: bool = False) -> TraceSchedule:
    """Devices that are there from 0:00 until a second of each day, and send a byte in a second."""
    devices = len(compute_s)
    windows = Windows(
        span_s=DAY_S,
        offsets=np.arange(devices + 1),
        start_s=np.zeros(devices),
        end_s=np.full(devices, until_s),
        joined_s=np.zeros(devices),
        left_s=np.full(devices, np.inf),
    )
    ones = np.ones(devices)
    return TraceSchedule(windows, np.array(compute_s), ones, ones, resumes)


def rounds(of: TraceSchedule, rule: CohortRule, *, count: int = 1, pace: TracePace = ALWAYS) -> PlannedRounds:
    return planned_rounds(of, pace, rule, rounds=count, sizes=RoundBytes(down=1, up=2), seed=0)


def test_a_round_ends_with_its_goal() -> None:
    made = rounds(schedule(10, 20, 30, 40), CohortRule(goal_count=2, over_selection=2))
    assert made.asked.tolist() == [4]
    assert made.answered.tolist() == [2]
    assert made.ended_s.tolist() == [23]  # 1 to receive, 20, 2 to send
    assert made.answers.tolist() == [1, 1, 1, 1]  # the others answer late


def test_who_is_late_does_one_thing_after_the_other() -> None:
    made = rounds(schedule(10, 100), CohortRule(goal_count=1, over_selection=2), count=2)
    assert made.ended_s.tolist() == [13, 26]
    both = rounds(schedule(10, 100), CohortRule(), count=2)
    assert both.ended_s.tolist() == [103, 206]


def test_a_round_waits_for_who_is_gone_until_the_deadline() -> None:
    made = rounds(schedule(10, 90, until_s=50), CohortRule(deadline_s=200))
    assert made.ended_s.tolist() == [200]
    assert made.answered.tolist() == [1]
    assert made.answers.tolist() == [1, 0]
    later = rounds(schedule(10, 90, until_s=50, resumes=True), CohortRule(deadline_s=200))
    assert later.answers.tolist() == [1, 1]


def test_rounds_wait_for_the_next_day_and_for_devices() -> None:
    pace = TracePace(rounds_a_day=2, least_devices=1)
    made = rounds(schedule(10), CohortRule(), count=5, pace=pace)
    assert [int(second // DAY_S) for second in made.started_s] == [0, 0, 1, 1, 2]
    short = rounds(schedule(10, until_s=20), CohortRule(), count=2)
    assert short.started_s[1] == pytest.approx(20, abs=60)  # it is over when the window is
    with pytest.raises(RoundNeverBegins, match="fewer than 3 devices"):
        rounds(schedule(1, 1), CohortRule(), pace=TracePace(rounds_a_day=None, least_devices=3))


def plan_of(**options: Any) -> Any:
    known: dict[str, Any] = {"devices": 60, "rounds": 12, "goal_count": 10, "draws": 3, **options}
    return make_plan(PlanRequest.of(PlanOptions(**known)))


def test_a_plan_is_the_same_by_the_same_seed() -> None:
    one, same, other = plan_of(), plan_of(), plan_of(seed=1)
    assert one == same
    assert one != other


def test_bytes_and_tasks_agree() -> None:
    plan = plan_of(up_bytes=100.0, down_bytes=10.0, over_selection=1.0, interrupted="resume")
    assert plan.tasks_per_device.value == pytest.approx(12 * 10 / 60)
    assert plan.down_bytes_per_device.value == pytest.approx(20)
    assert plan.up_bytes_per_device.value <= 200
    assert plan.total_bytes.value == pytest.approx(
        60 * (plan.up_bytes_per_device.value + plan.down_bytes_per_device.value), rel=0.02
    )
    assert plan.days.low <= plan.days.value <= plan.days.high


def test_rounds_a_day_decide_the_days() -> None:
    assert 5 <= plan_of(rounds_a_day=2, least_devices=15).days.value <= 7
    assert plan_of(rounds_a_day=2, least_devices=15).rounds_a_day.value == pytest.approx(2, abs=0.4)


def test_epsilon_is_the_accountant_s() -> None:
    plan = plan_of(privacy="central", epsilon=4.0)
    noise = noise_for_epsilon(4.0, 12, 1e-5)
    assert plan.noise_multiplier == pytest.approx(noise)
    busiest = round(plan.tasks_of_busiest.value)
    assert plan.epsilon.value == pytest.approx(epsilon_of_rounds(noise, busiest, 1e-5))
    assert plan.epsilon.value <= 4.0


def test_the_smallest_fleet_holds_the_days() -> None:
    options = {"devices": None, "rounds": 10, "goal_count": 20, "round_pause": 3600.0}
    plan = plan_of(within_days=2.0, **options)
    assert plan.days.value <= 2.3
    with pytest.raises(PlanError, match="no fleet is so fast, however large"):
        plan_of(within_days=0.3, **options)  # nine pauses of an hour


def test_a_learning_curve_says_how_many_rounds(tmp_path: Path) -> None:
    path = tmp_path / "curve.csv"
    path.write_text("round,accuracy\n1,0.5\n2,0.95\n3,0.8\n4,0.9\n5,0.9\n")
    curve = read_curve(path)
    assert rounds_to(0.85, curve, where="it") == 4  # the mean of 0.95, 0.8 and 0.9
    with pytest.raises(PlanError, match=r"reaches 0\.950 in 5 rounds, and not 0\.99"):
        rounds_to(0.99, curve, where="it")
    assert plan_of(rounds=None, curve=str(path), target_accuracy=0.85).rounds == 4


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("r,a\n1,1\n", "line 1"),
        ("round,accuracy\n1,much\n", "line 2"),
        ("round,accuracy\n1,nan\n", "line 2"),
        ("round,accuracy\n2,0.1\n1,0.2\n", "line 3.*rise"),
    ],
)
def test_a_curve_that_is_none_is_told_by_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "curve.csv").write_text(text)
    with pytest.raises(PlanError, match=told):
        read_curve(tmp_path / "curve.csv")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"rounds": None}, "name the goal"),
        ({"within_days": 3.0}, "--devices and --within-days"),
        ({"target_accuracy": 0.9, "rounds": None}, "learning curve"),
        ({"devices": None}, "how large the fleet is"),
        ({"epsilon": 3.0}, "--privacy"),
        ({"privacy": "central"}, "--epsilon and --noise-multiplier"),
        ({"participation": 0.5}, "--goal-count and --participation"),
        ({"trace": "/no/such"}, "no such folder"),
        ({"trace": "generated:x=1"}, "'x'"),
        ({"run": "/no/such"}, "no finished run"),
        ({"draws": 1}, "--draws"),
    ],
)
def test_what_cannot_be_planned_is_told(options: dict[str, Any], told: str) -> None:
    with pytest.raises(FedstillError, match=told):
        plan_of(**options)


def test_the_command_prints_a_table_and_json() -> None:
    words = ["plan", "--devices", "60", "--rounds", "4", "--goal-count", "10", "--draws", "3"]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    assert "battery a day" in shown.output
    document = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert document["devices"] == 60
    assert set(document["days"]) == {field.name for field in dataclasses.fields(PlannedFigure)}


# Energy


def test_a_radio_costs_what_its_model_says() -> None:
    """1 MB at 8 Mbit/s takes a second: LTE draws 8 x 51.97 + 1288.04 mW in it, and 11.576 s of tail."""
    megabyte, mbps, once = np.array([1e6, 1e6]), np.full(2, 8.0), np.ones(2)
    joules = receiving_j(megabyte, mbps, np.array([0, 1], np.uint8), once)
    assert joules[1] == pytest.approx(1.7038 + 12.27056)
    assert joules[0] == pytest.approx(8 * 0.13701 + 0.13286 + 0.0284053)
    assert sending_j(megabyte, mbps, np.array([1, 1], np.uint8), once)[0] > joules[1]


def test_a_battery_is_shared() -> None:
    rule = EnergyRule(joules_per_gflop=2.0, battery_wh=10.0)
    assert rule.computing_j(np.array([18.0])).tolist() == [36.0]
    assert rule.battery_share(np.array([36.0])).tolist() == [0.001]
