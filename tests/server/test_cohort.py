"""Selection: seeded, independent of the order in which devices came, and as large as the rule says."""

from __future__ import annotations

from typing import cast

import pytest
from fedstill_proto.messages import SoftLabelSummary
from fedstill_server.config.fleet import CohortRule, ConfigError
from fedstill_server.rounds.gate import Answer
from fedstill_server.rounds.sampling import counted_answers, goal_of, select_cohort

NAMES = [f"device-{number}" for number in range(10)]
SOME = CohortRule(goal_count=4, over_selection=1.3)


def answers(*names: str) -> list[Answer]:
    return [Answer(name, cast(SoftLabelSummary, None), round=1) for name in names]


def test_all_take_part_without_a_goal() -> None:
    cohort = select_cohort(NAMES, CohortRule(), seed=0, round_number=1)
    assert sorted(cohort) == NAMES
    assert goal_of(CohortRule(), 10) == 10


def test_a_goal_asks_more_than_it_needs() -> None:
    cohort = select_cohort(NAMES, SOME, seed=0, round_number=1)
    assert len(cohort) == len(set(cohort)) == 6  # 4 * 1.3 = 5.2
    assert goal_of(SOME, 10) == 4


def test_the_order_of_arrival_does_not_matter() -> None:
    one = select_cohort(NAMES, SOME, seed=3, round_number=7)
    assert select_cohort(reversed(NAMES), SOME, seed=3, round_number=7) == one


def test_rounds_and_seeds_differ() -> None:
    cohorts = {tuple(select_cohort(NAMES, SOME, seed=s, round_number=r)) for s in (0, 1) for r in (1, 2, 3)}
    assert len(cohorts) == 6


def test_every_device_has_its_turn() -> None:
    turns = [name for r in range(200) for name in select_cohort(NAMES, SOME, seed=0, round_number=r)]
    # 120 expected of each, with a standard deviation of about 7.
    assert all(90 < turns.count(name) < 150 for name in NAMES)


def test_a_goal_beyond_the_fleet_waits_for_the_fleet() -> None:
    assert len(select_cohort(NAMES[:3], SOME, seed=0, round_number=1)) == 3
    assert goal_of(SOME, 3) == 3


def test_a_share_is_of_those_that_are_there() -> None:
    rule = CohortRule(fraction=0.3, over_selection=1.4)
    assert [goal_of(rule, devices) for devices in (1, 2, 10, 30)] == [1, 1, 3, 9]
    assert len(select_cohort(NAMES, rule, seed=0, round_number=1)) == 5  # 3 * 1.4 = 4.2
    with pytest.raises(ConfigError, match="name one of the two"):
        CohortRule(fraction=0.3, goal_count=4)


def test_what_goes_beyond_the_goal_falls_to_the_last_selected() -> None:
    counted = counted_answers(answers("a", "b", "c"), cohort=["c", "x", "b", "a"], goal=2)
    assert [answer.device for answer in counted] == ["b", "c"]
