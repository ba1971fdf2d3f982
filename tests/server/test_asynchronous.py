"""Mode async: buffers, ages, tasks for whoever is idle; and runs that are stopped in the middle."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fedstill_proto.codec.api import Expected, decode_summary
from fedstill_proto.messages import PrivateStatistics, SoftLabelSummary, SummaryKind
from fedstill_server.config.fleet import AsyncRule, CohortRule, FleetConfig
from fedstill_server.consensus.aggregation import fold
from fedstill_server.consensus.folds.norms import Norms
from fedstill_server.methods import build_method
from fedstill_server.rounds.events import Collected, Event, RoundFinished, RoundStarted, subscribe
from fedstill_server.rounds.preparation import prepare
from fedstill_server.rounds.round_record import RoundRecord
from fedstill_server.rounds.staleness import weight_of
from fedstill_server.state import digest_of

from tests.server.scripted_fleet import METHODS_OF_ANY_FAMILY, fleet_config, honest_summary, public_examples
from tests.server.timed_fleet import Plan, play_timed

EQUAL = Plan([10.0] * 4)
# Device 0 answers at 10, 20, 30, ...; device 1 at 25, 50, ...; device 2 at 100.
UNEQUAL = Plan([10.0, 25.0, 100.0])


def async_config(method: str = "public-logits", **changes: Any) -> FleetConfig:
    rule = {"buffer": 2, "max_age": 10, "exponent": 0.5} | changes.pop("rule", {})
    cohort = CohortRule(deadline_s=changes.pop("deadline_s", 1000.0))
    settings: dict[str, Any] = {"mode": "async", "asynchronous": AsyncRule(**rule), "cohort": cohort}
    return fleet_config(method, **settings | changes)


def folded(records: list[RoundRecord]) -> list[list[tuple[str, int]]]:
    """By round: the devices that were folded, each with its summary's age."""
    return [list(zip(record.counted, record.ages, strict=True)) for record in records]


def test_an_old_summary_counts_less() -> None:
    rule = AsyncRule(exponent=0.5)
    assert [weight_of(age, rule) for age in (0, 3, 8)] == [1.0, 0.5, pytest.approx(1 / 3)]
    assert weight_of(99, AsyncRule(exponent=0.0)) == 1.0
    assert weight_of(1, AsyncRule(exponent=1.0)) == 0.5


@pytest.mark.parametrize("method", [name for name in METHODS_OF_ANY_FAMILY if name != "scaffold"])
def test_equal_devices_and_a_buffer_for_all_are_rounds(tmp_path: Path, method: str) -> None:
    shifts = method in (
        "fedstill",
        "auto",
        "public-logits",
    )  # in rounds, these compare devices unless told not to
    options = {"fold": "clipped"} if shifts else {}
    config = async_config(method, rule={"buffer": 4}, options=options)
    rounds, records, _ = play_timed(tmp_path / "rounds", EQUAL, dataclasses.replace(config, mode="rounds"))
    state, in_async, _ = play_timed(tmp_path / "async", EQUAL, config)

    assert digest_of(state.flat()) == digest_of(rounds.flat())
    assert list(map(without_times, in_async)) == list(map(without_times, records))
    assert [record.clock_s for record in in_async] == [10, 20, 30]


def test_the_server_learns_whenever_the_buffer_is_full(tmp_path: Path) -> None:
    _, records, grid = play_timed(tmp_path, UNEQUAL, async_config(rounds=3))

    # Device 0 answers at 10, and again only when there is something new; device 1 fills the buffer at 25.
    # At 35 device 0 answers the next state and waits; device 1 at 50. Then 60 and 75.
    assert [record.clock_s for record in records] == [25, 50, 75]
    assert folded(records) == [[("device-0", 0), ("device-1", 0)]] * 3
    assert sorted(grid.asked) == [
        (0, 0, 1), (0, 1, 1), (0, 2, 1), (25, 0, 2), (25, 1, 2), (50, 0, 3), (50, 1, 3)
    ]  # fmt: skip


def test_a_slow_device_is_waited_for_by_nobody_and_counts_by_its_age(tmp_path: Path) -> None:
    _, records, grid = play_timed(tmp_path, UNEQUAL, async_config(rounds=5, rule={"buffer": 1}))

    # Device 0 alone fills a buffer of 1: at 10 and 20; device 1 answers round 1 at 25, in round 3.
    assert [record.clock_s for record in records] == [10, 20, 25, 30, 40]
    assert folded(records) == [
        [("device-0", 0)],
        [("device-0", 0)],
        [("device-1", 2)],
        [("device-0", 1)],  # asked at 20, for round 3
        [("device-0", 0)],
    ]
    assert (25, 1, 4) in grid.asked  # as soon as it had answered, with the newest state


def test_ages_weigh_in_the_fold(tmp_path: Path) -> None:
    plan, config = Plan([10.0, 15.0]), async_config("class-logits", rounds=2, rule={"buffer": 1})
    _, records, grid = play_timed(tmp_path, plan, config)

    assert folded(records) == [[("device-0", 0)], [("device-1", 1)]]
    method = build_method(config, public_examples())
    state = prepare(config, public_examples(), method)
    task = next(task for device, task in grid.tasks if device == 1)
    arrived = decode_summary(honest_summary(task, 1), expected=Expected.of(task, config.classes))
    part = method.contribution(state, round_number=1)(arrived)
    part = method.bounded(Norms(), state, round_number=1)(part)
    by_hand = fold([part.weighted(2**-0.5)], method.zero(round_number=2))
    assert records[1].consensus_digest == digest_of(by_hand.arrays())


def test_what_is_too_old_is_quarantined_as_stale(tmp_path: Path) -> None:
    plan = Plan([10.0, 25.0])
    config = async_config(rounds=4, rule={"buffer": 1, "max_age": 1})
    _, records, _ = play_timed(tmp_path, plan, config)

    # Device 1 answers round 1 at 25, when the server has learned at 10 and at 20: an age of 2.
    stale = [(record.round, one.device, one.reason) for record in records for one in record.quarantined]
    assert stale == [(3, "device-1", "stale")]
    assert folded(records)[2] == [("device-0", 0)]


def test_a_device_that_does_not_answer_in_time_is_left_out_and_asked_again(tmp_path: Path) -> None:
    plan = Plan([10.0, 10.0], gone={1: (1, 2)})  # asked in round 1, and gone before it has answered
    _, records, grid = play_timed(tmp_path, plan, async_config(rounds=6, deadline_s=35.0))

    # Its time is over at 35; it is not there at the start of round 2, which device 0 ends alone.
    assert [record.clock_s for record in records][:3] == [35, 45, 55]
    assert [(one.device, one.reason) for one in records[0].quarantined] == [("device-1", "no-answer")]
    assert [record.present for record in records][:3] == [2, 1, 2]
    assert records[2].counted == ("device-0", "device-1")
    assert next(asked for asked in grid.asked if asked[1] == 1) == (45, 1, 3)


def test_so_many_devices_work_at_a_time_as_the_cohort_rule_says(tmp_path: Path) -> None:
    config = async_config(rounds=6, rule={"buffer": 1}, cohort=CohortRule(fraction=0.5, deadline_s=1000))
    _, records, grid = play_timed(tmp_path, Plan([10.0, 12.0, 14.0, 16.0]), config)

    ends = {(device, round_): second + 10 + 2 * device for second, device, round_ in grid.asked}
    for second in {second for second, _, _ in grid.asked}:
        at_work = [
            key
            for began, *key in grid.asked
            if began <= second < ends[tuple(key)]  # type: ignore[index]
        ]
        assert len(at_work) <= 2
    assert len({device for _, device, _ in grid.asked}) == 4  # each has its turn
    assert [record.present for record in records] == [4] * 6


class Killed(Exception):
    pass


def kill_points() -> Iterator[tuple[type[Event], int]]:
    yield from ((RoundStarted, 5), (Collected, 1), (Collected, 6), (RoundFinished, 6))


@pytest.mark.parametrize(
    ("mode", "method"), [("async", "public-logits"), ("async", "fedavg"), ("rounds", "class-logits")]
)
def test_a_killed_run_ends_like_one_that_was_not(tmp_path: Path, method: str, mode: str) -> None:
    # Slow ones answer old states, one too old; one vanishes with its task, one joins late.
    plan = Plan([10.0, 11.0, 23.0, 55.0, 10.0, 12.0, 44.0], gone={4: (2, 99), 5: (0, 2)})
    families = ("mlp-small", "cnn")
    changes: dict[str, Any] = {"mode": mode, "rounds": 9, "families": families}
    config = async_config(method, rule={"max_age": 3}, deadline_s=50.0, **changes)
    whole, records, _ = play_timed(tmp_path / "whole", plan, config, families=families)
    if mode == "async":
        assert max(age for record in records for age in record.ages) >= 1
        assert {"stale", "no-answer"} <= {one.reason for record in records for one in record.quarantined}
    assert sum(record.overdue for record in records) >= 1

    for kind, number in kill_points():
        folder = tmp_path / f"{kind.__name__}-{number}"

        def kill(event: Event, kind: type[Event] = kind, number: int = number) -> None:
            at = event.record.round if isinstance(event, RoundFinished) else getattr(event, "round", 0)
            if type(event) is kind and at == number:
                raise Killed

        with subscribe(kill), pytest.raises(Killed):
            play_timed(folder, plan, config, families=families)
        state, resumed, _ = play_timed(folder, plan, config, families=families)

        assert [with_clock(record) for record in resumed] == [with_clock(record) for record in records]
        assert digest_of(state.flat()) == digest_of(whole.flat())


def with_clock(record: RoundRecord) -> dict[str, object]:
    return {k: v for k, v in record.to_json().items() if k not in ("seconds", "phase_seconds")}


def without_times(record: RoundRecord) -> dict[str, object]:
    return with_clock(record) | {"clock_s": None, "notice": None}  # auto's says which mode it is in


def test_the_states_of_slow_devices_are_kept_and_no_more(tmp_path: Path) -> None:
    config = async_config(rounds=6, rule={"max_age": 2, "buffer": 1})
    play_timed(tmp_path, UNEQUAL, config)
    files = sorted(path.name for path in (tmp_path / "server" / "checkpoints").glob("*.safetensors"))
    assert files == [f"round-{number:06d}.safetensors" for number in range(3, 7)]


def test_a_round_whose_states_differ_is_read_against_the_state_that_each_device_had() -> None:
    method = build_method(fleet_config("fedavg"), public_examples())
    config = fleet_config("fedavg")
    state = prepare(config, public_examples(), method)
    given = state.students["mlp-small"]
    trained = {name: array + np.float32(0.5) for name, array in given.items()}
    newer = {name: array + np.float32(2) for name, array in given.items()}
    summary = SoftLabelSummary(
        config.run, 1, "mlp-small", SummaryKind.PARAMETERS, PrivateStatistics(parameters=trained, examples=3)
    )

    part = method.contribution(state, round_number=1)(summary)
    learned = method.learn(state.replace(students={"mlp-small": newer}), part, round_number=2)

    # It moved by 0.5 from the student it was given; that is added to the one that the server has by now.
    for name, array in learned.students["mlp-small"].items():
        np.testing.assert_allclose(array, given[name] + 2.5, rtol=1e-5)
