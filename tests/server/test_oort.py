"""Selection by utility: who is preferred, who is explored, what is remembered, and where it may not be."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fedstill_server.config.codec import from_json, to_json
from fedstill_server.config.fleet import CohortRule, ConfigError, FleetConfig
from fedstill_server.consensus.aggregation import RowSums
from fedstill_server.privacy.rule import PrivacyRule
from fedstill_server.rounds.answer_utility import _apart
from fedstill_server.rounds.events import Event, RoundFinished, subscribe
from fedstill_server.rounds.oort import (
    PACED_ROUNDS,
    DeviceUtility,
    UtilityState,
    exploration,
    select_by_utility,
    utilities,
)
from fedstill_server.state import digest_of

from tests.server.scripted_fleet import fleet_config
from tests.server.timed_fleet import Plan, play_timed


def remembered(**devices: tuple[float, float]) -> UtilityState:
    """(statistical utility, seconds) by device, all asked in round 5."""
    return UtilityState(
        devices={
            name: DeviceUtility(statistical=said, seconds=seconds, round=5)
            for name, (said, seconds) in devices.items()
        }
    )


def test_who_says_much_and_soon_is_worth_most() -> None:
    state = remembered(much=(1.0, 10), little=(0.1, 10), slow=(1.0, 40))
    much, little, slow = utilities(state, ["much", "little", "slow"], round_number=6)
    assert much > little > slow
    # The preferred duration is 10 s; four times as long counts a sixteenth.
    assert slow == pytest.approx(much / 16)


def test_the_temporal_term_is_the_paper_s() -> None:
    (worth,) = utilities(remembered(one=(2.0, 0)), ["one"], round_number=6)
    assert worth == pytest.approx(1 + np.sqrt(0.1 * np.log(6) / 5))


def test_who_shouts_counts_once() -> None:
    names = [f"d{number}" for number in range(40)]
    state = remembered(**dict.fromkeys(names[1:], (1.0, 0)), d0=(1e6, 0))
    worth = utilities(state, names, round_number=6)
    assert worth[0] == pytest.approx(worth[1])


def test_exploration_fades() -> None:
    assert exploration(1) == 0.9
    assert exploration(2) == pytest.approx(0.882)
    assert exploration(1000) == 0.2


def test_a_cohort_is_as_large_as_asked_and_drawn_by_the_seed() -> None:
    state = remembered(a=(1.0, 1), b=(0.5, 1), c=(0.2, 1))
    present = ["a", "b", "c", "x", "y", "z"]
    for wanted in range(7):
        chosen = select_by_utility(present, wanted, state, seed=1, round_number=6)
        assert len(set(chosen)) == len(chosen) == wanted
    one, same = (select_by_utility(present, 4, state, seed=1, round_number=6) for _ in range(2))
    assert one == same
    drawn = {tuple(select_by_utility(present, 4, state, seed=seed, round_number=6)) for seed in range(9)}
    assert len(drawn) > 1


def test_the_first_round_explores_alone() -> None:
    assert len(select_by_utility("abcdef", 3, UtilityState(), seed=0, round_number=1)) == 3


def test_useful_devices_are_asked_more_often() -> None:
    names = [f"d{number:02d}" for number in range(50)]
    state = remembered(**{name: (1.0 if number < 10 else 0.1, 10) for number, name in enumerate(names)})
    asked = Counter(
        name
        for number in range(200, 300)
        for name in select_by_utility(names, 10, state, seed=3, round_number=number)
    )
    useful = sum(asked[name] for name in names[:10])
    assert useful > 0.9 * sum(asked.values())


def test_what_is_remembered_goes_to_disk_and_back() -> None:
    state = UtilityState().after(1, asked=["a", "b"], statistical={"a": 0.1}, seconds={"a": 3.0, "b": 600.0})
    assert from_json(UtilityState, to_json(state), where="it") == state
    assert state.devices["b"] == DeviceUtility(statistical=0.0, seconds=600.0, round=1)
    later = state.after(2, asked=["a"], statistical={}, seconds={})
    assert later.devices["a"] == DeviceUtility(statistical=0.1, seconds=3.0, round=2)


def test_the_pacer_lets_slower_devices_in_where_less_is_gained() -> None:
    state = UtilityState()
    for number in range(1, 2 * PACED_ROUNDS + 1):
        gained = 1.0 if number <= PACED_ROUNDS else 0.5
        state = state.after(number, asked=["a"], statistical={"a": gained}, seconds={"a": 1.0})
    assert state.percentile == 35
    assert len(state.gained) == PACED_ROUNDS


def test_class_means_far_from_the_others_say_more() -> None:
    rows = {
        name: RowSums.of_rows(np.array([[value]])) for name, value in (("a", 0.0), ("b", 0.0), ("c", 3.0))
    }
    assert _apart(rows) == pytest.approx({"a": 1.0, "b": 1.0, "c": 2.0})


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"cohort": {"select": "best"}}, "select: 'best'"),
        ({"cohort": {"select": "oort"}}, "--goal-count or --participation"),
        ({"cohort": {"select": "oort", "goal_count": 3}, "mode": "async"}, "mode async"),
        *(
            (
                {
                    "cohort": {"select": "oort", "goal_count": 3},
                    "privacy": PrivacyRule(mode=mode, noise_multiplier=1.0, clip=1.0),
                },
                told,
            )
            for mode, told in (("central", "noised sum"), ("local", "answers are noise"))
        ),
    ],
)
def test_where_the_server_may_not_choose_by_answers_it_is_told(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        fleet_config("class-logits", **{**changed, "cohort": CohortRule(**changed["cohort"])})


def test_a_run_asks_the_fast_more_often_and_remembers_whom(tmp_path: Path) -> None:
    """Eight devices, of which four take ten times as long; a round asks two."""
    plan = Plan([10.0] * 4 + [100.0] * 4)
    cohort = CohortRule(goal_count=2, deadline_s=1000.0, select="oort")
    config = fleet_config("class-logits", cohort=cohort, rounds=24)
    _, records, _ = play_timed(tmp_path / "oort", plan, config)
    late = Counter(device for record in records[8:] for device in record.counted)
    slow = sum(count for device, count in late.items() if device in {f"device-{n}" for n in range(4, 8)})
    assert sum(late.values()) == 2 * 16
    assert slow < 12
    _, again, _ = play_timed(tmp_path / "again", plan, config)
    assert [record.counted for record in again] == [record.counted for record in records]


def test_a_killed_run_asks_whom_it_would_have_asked(tmp_path: Path) -> None:
    plan = Plan([10.0] * 4 + [100.0] * 4)
    cohort = CohortRule(goal_count=2, over_selection=1.5, deadline_s=1000.0, select="oort")
    config = fleet_config("public-logits", cohort=cohort, rounds=12)
    whole, records, _ = play_timed(tmp_path / "whole", plan, config)

    class Killed(Exception):
        pass

    def kill(event: Event) -> None:
        if isinstance(event, RoundFinished) and event.record.round == 7:
            raise Killed

    with subscribe(kill), pytest.raises(Killed):
        play_timed(tmp_path / "killed", plan, config)
    state, resumed, _ = play_timed(tmp_path / "killed", plan, config)
    assert [record.counted for record in resumed] == [record.counted for record in records]
    assert digest_of(state.flat()) == digest_of(whole.flat())


def test_random_is_the_default() -> None:
    assert CohortRule().select == "random"
    assert isinstance(fleet_config("class-logits"), FleetConfig)
