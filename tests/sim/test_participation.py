"""Who is there, and when: exact shares, seeded draws, and what a Grid makes of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fedstill_proto.flower_records  # noqa: F401  (before flwr)
import numpy as np
import pytest
from fedstill_proto.flower_records import pack, unpack
from fedstill_server.config.fleet import ConfigError
from fedstill_sim.availability import FOR_EVER, Availability, AvailabilitySchedule, draw_schedule
from fedstill_sim.engine.grid import FIRST_DEVICE_NODE_ID, InProcessGrid, VirtualClock
from fedstill_sim.engine.pending_replies import PendingReplies
from flwr.app import Error, Message, RecordDict

DEVICES, ROUNDS = 40, 10


def drawn(*, seed: int = 0, **shares: Any) -> AvailabilitySchedule:
    return draw_schedule(Availability(**shares), devices=DEVICES, rounds=ROUNDS, seed=seed)


def test_by_default_all_are_there_and_equally_fast() -> None:
    plan = drawn()
    assert not any(plan.gone(round_).any() for round_ in range(ROUNDS + 1))
    np.testing.assert_allclose(plan.seconds, 60)


def test_shares_are_kept_to_the_device() -> None:
    plan = drawn(stragglers=0.1, slowdown=4, vanish=0.05, away=0.25, away_rounds=2, join_late=0.2)
    assert (plan.seconds > 200).sum() == 4
    assert (plan.gone_until[:, 1] == FOR_EVER).all()
    assert (plan.gone_from[:, 1] <= ROUNDS).sum() == 2
    assert (plan.gone_from[:, 2] <= ROUNDS).sum() == 10
    assert (plan.gone_until[:, 0] > 0).sum() == 8


def test_who_vanishes_is_gone_for_ever_and_who_is_away_comes_back() -> None:
    ever, back = drawn(vanish=1.0), drawn(away=1.0, away_rounds=2)
    rounds = range(ROUNDS + 3)
    for device in range(DEVICES):
        vanished = [ever.gone(round_)[device] for round_ in rounds]
        assert vanished == sorted(vanished)
        assert vanished[-1]
        away = [round_ for round_ in rounds if back.gone(round_)[device]]
        assert len(away) == 3  # the round in which it leaves, and two more
        assert away[0] >= 1
        assert away[-1] <= ROUNDS


def test_late_joiners_are_not_there_at_first() -> None:
    plan = drawn(join_late=0.5)
    there = [int((~plan.gone(round_)).sum()) for round_ in range(ROUNDS + 1)]
    assert there[0] == 20  # gone(0): who is there when round 1 begins
    assert there == sorted(there)
    assert there[-1] == DEVICES


def test_the_seed_decides_and_nothing_else() -> None:
    shares = {"stragglers": 0.2, "speed_spread": 0.5, "vanish": 0.2, "join_late": 0.2}
    one, same, other = drawn(**shares), drawn(**shares), drawn(seed=1, **shares)
    for name in ("seconds", "gone_from", "gone_until"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
        assert (getattr(one, name) != getattr(other, name)).any()


def test_one_share_does_not_change_another_s_draws() -> None:
    np.testing.assert_array_equal(drawn(vanish=0.2).gone_from, drawn(vanish=0.2, stragglers=0.5).gone_from)


@pytest.mark.parametrize(
    "wrong",
    [{"vanish": 1.5}, {"join_late": 1.0}, {"slowdown": 0.5}, {"device_seconds": 0.0}, {"away_rounds": 0}],
)
def test_what_cannot_be_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Availability(**wrong)


# What the Grid makes of it


def summaries(devices: Sequence[int], contents: Sequence[RecordDict]) -> list[RecordDict | Error]:
    return [
        Error(100, "no") if device == 2 else pack("SoftLabelSummary", bytes([device])) for device in devices
    ]


def timed_grid(folder: Path, *, done: int = 0) -> InProcessGrid:
    """Devices 0 to 3 take 1, 2, 3 and 4 seconds; device 3 vanishes in round 2."""
    gone_from = np.full((4, 3), FOR_EVER)
    gone_from[3, 1] = 2
    plan = AvailabilitySchedule(np.arange(1.0, 5.0), gone_from, np.full((4, 3), FOR_EVER))
    grid = InProcessGrid(devices=4, handlers={"train": summaries})
    assert grid.clock is None
    grid.follow_schedule(plan, PendingReplies(folder), committed_rounds=done)
    return grid


def tasks(grid: InProcessGrid, round_number: int, *devices: int) -> list[str]:
    nodes = [FIRST_DEVICE_NODE_ID + device for device in devices]
    return grid.push_messages(
        [Message(RecordDict(), node, "train", group_id=str(round_number)) for node in nodes]
    )


def clock(grid: InProcessGrid) -> VirtualClock:
    assert grid.clock is not None
    return grid.clock


def answered(replies: Sequence[Message]) -> list[int]:
    """The devices, by what they said."""
    return [
        2 if reply.has_error() else unpack(reply.content, "SoftLabelSummary", size_limit_bytes=9)[0]
        for reply in replies
    ]


def test_time_jumps_from_arrival_to_arrival(tmp_path: Path) -> None:
    grid = timed_grid(tmp_path)
    names = tasks(grid, 1, 0, 1, 2)

    assert grid.pull_messages(names) == []
    for second, device in ((1, 0), (2, 1), (3, 2)):
        clock(grid).wait(0.01, until_s=10)
        assert clock(grid).now_s() == second
        assert answered(grid.pull_messages(names)) == [device]
    clock(grid).wait(0.01, until_s=10)
    assert clock(grid).now_s() == 10  # nothing more is on its way


def test_a_device_does_one_thing_after_the_other(tmp_path: Path) -> None:
    grid = timed_grid(tmp_path)
    first, second = tasks(grid, 1, 3), tasks(grid, 1, 3)
    clock(grid).start_at(4)
    assert len(grid.pull_messages([*first, *second])) == 1
    clock(grid).start_at(8)
    assert len(grid.pull_messages([*first, *second])) == 1


def test_who_vanishes_is_asked_once_more_and_then_not_there(tmp_path: Path) -> None:
    grid = timed_grid(tmp_path)
    assert len(grid.get_node_ids()) == 4
    names = tasks(grid, 2, 2, 3)
    clock(grid).start_at(1e9)
    assert answered(grid.pull_messages(names)) == [2]
    assert FIRST_DEVICE_NODE_ID + 3 not in grid.get_node_ids()


def test_what_is_on_its_way_survives_a_kill(tmp_path: Path) -> None:
    before = timed_grid(tmp_path)
    names = tasks(before, 1, 0, 1, 2)
    lost = tasks(before, 2, 0)  # of a round that was not committed

    after = timed_grid(tmp_path, done=1)
    clock(after).start_at(2)

    assert answered(after.pull_messages(names)) == [0, 1]
    clock(after).wait(0.01, until_s=10)
    assert clock(after).now_s() == 3
    (error,) = after.pull_messages(names)
    assert (error.error.code, error.error.reason) == (100, "no")
    assert error.metadata.reply_to_message_id == names[2]
    assert error.metadata.src_node_id == FIRST_DEVICE_NODE_ID + 2
    clock(after).start_at(100)
    assert after.pull_messages(lost) == []
    assert tasks(after, 2, 0) == lost  # asked again, it is the same message
