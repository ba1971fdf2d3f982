"""Rounds that wait: for a window, an allowance, devices and the network, by a clock that a test sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from fedstill_proto.flower_records import hello_reply
from fedstill_server.config.codec import ConfigError
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.config.schedule import Schedule
from fedstill_server.fleet.round_notes import RoundNotes
from fedstill_server.operations.database import FleetDatabase
from fedstill_server.rounds.events import RoundAwaited, subscribe
from fedstill_server.rounds.fleet_run import FleetRun
from fedstill_server.rounds.roster import Patience, Roster
from fedstill_server.rounds.rounds_status import RoundsStatus
from fedstill_server.rounds.run_store import RunStore
from fedstill_server.rounds.scheduled import FleetView, Scheduled
from flwr.app import Error, Message, RecordDict

from tests.server.scripted_fleet import ScriptedGrid, fleet_config, public_examples


@dataclass
class Day:
    """A clock that goes on as rounds wait; `at` are what happens at its hours."""

    now: datetime = datetime(2026, 1, 10, tzinfo=UTC)
    at: list[tuple[float, Callable[[], None]]] = field(default_factory=list)  # hours, in order
    began: datetime = datetime(2026, 1, 10, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    @property
    def hours(self) -> float:
        return (self.now - self.began).total_seconds() / 3600

    def now_s(self) -> float:
        return self.now.timestamp()

    def wait(self, pause_s: float, *, until_s: float) -> None:
        # Far quicker than the wall's: a wait whose end is known is one step, any other a quarter of an hour.
        self.now += timedelta(seconds=900 if pause_s >= 1 else pause_s)
        while self.at and self.hours >= self.at[0][0]:
            self.at.pop(0)[1]()


class Fleet:
    """A fleet of scripted devices in a folder, at the pace of a schedule."""

    def __init__(self, folder: Path, config: FleetConfig, *, devices: int = 4) -> None:
        self.folder, self.config, self.devices = folder, config, devices
        self.grid = ScriptedGrid(devices=devices)
        self.day = Day()
        self.schedule = Schedule()
        self.read: Callable[[], Schedule] = lambda: self.schedule
        self.stopped = False
        self.waits: list[RoundAwaited] = []

    def run(self) -> list[tuple[int, str]]:
        """Run until it is stopped or over; each round's number and the time at which it ended."""
        store = RunStore(self.folder)
        view = FleetView(
            schedule=lambda: self.read(),
            registered=lambda: self.devices,
            last_records=store.last_records,
            superseded=lambda: self.stopped,
        )
        pacing = Scheduled(self.config, view, now=self.day, clock=self.day)
        notes = RoundNotes(self.folder, clock=self.day.now_s)

        def note(event: object) -> None:
            if isinstance(event, RoundAwaited):
                self.waits.append(event)

        with subscribe(note), subscribe(notes):
            FleetRun(self.grid, self.config, public=public_examples(), store=store, pacing=pacing).run()
        return [(one.round, one.finished_at[11:16]) for one in store.records()]

    def stop(self) -> None:
        self.stopped = True


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path, fleet_config(rounds=1, continuous=True, evaluate_every=0))


def test_rounds_go_on_by_windows_and_so_many_a_day(fleet: Fleet) -> None:
    fleet.schedule = Schedule(window="0 2,14 * * *", lasts_s=3600, most_rounds_a_day=3, least_pause_s=1800)
    fleet.day.at = [(27, fleet.stop)]
    # Two in each window, half an hour apart, and never a fourth on one day; `rounds` is no end.
    assert fleet.run() == [(1, "02:00"), (2, "02:30"), (3, "14:00"), (4, "02:00"), (5, "02:30")]
    assert [one.reason for one in fleet.waits[:5]] == [
        *("window", "pause-between", "pause-between", "window", "allowance")
    ]
    assert fleet.waits[0].next_window_at == datetime(2026, 1, 10, 2, tzinfo=UTC).timestamp()


def test_a_new_process_knows_how_many_rounds_the_day_had(fleet: Fleet) -> None:
    fleet.schedule = Schedule(most_rounds_a_day=2)
    fleet.day.at = [(1, fleet.stop)]
    assert len(fleet.run()) == 2
    fleet.stopped, fleet.day.at = False, [(23, fleet.stop)]
    assert len(fleet.run()) == 2
    fleet.stopped, fleet.day.at = False, [(25, fleet.stop)]
    assert fleet.run()[2:] == [(3, "00:00"), (4, "00:00")]


def test_a_schedule_that_changes_is_followed_at_once(fleet: Fleet) -> None:
    fleet.schedule = Schedule(paused=True)

    def resume() -> None:
        fleet.schedule = Schedule(most_rounds_a_day=1)

    fleet.day.at = [(5, resume), (8, fleet.stop)]
    assert fleet.run() == [(1, "05:00")]
    assert [one.reason for one in fleet.waits] == ["paused", "allowance"]
    status = RoundsStatus.read(fleet.folder)
    assert status is not None
    assert status.waiting_for == "end"


def test_a_schedule_that_cannot_be_read_holds_rounds_until_it_can(fleet: Fleet) -> None:
    broken = [ConfigError("schedule.json.window: 'soon' is not ...")]

    def read() -> Schedule:
        if broken:
            raise broken[0]
        return Schedule(most_rounds_a_day=1)

    fleet.read = read
    fleet.day.at = [(2, broken.clear), (3, fleet.stop)]
    assert fleet.run() == [(1, "02:00")]
    assert [one.reason for one in fleet.waits] == ["held", "allowance"]


def test_too_few_devices_are_waited_for(fleet: Fleet) -> None:
    fleet.grid.absent = {0, 1, 2}
    fleet.schedule = Schedule(most_rounds_a_day=1)  # half of the four registered ones, unless it says more
    fleet.day.at = [(3, lambda: fleet.grid.absent.discard(2)), (4, fleet.stop)]
    assert fleet.run() == [(1, "03:00")]
    assert fleet.waits[0].text == "1 of the 2 devices that a round needs are there and willing"
    with FleetDatabase.open(fleet.folder) as database:
        assert {one.name: one.last_outcome for one in database.devices()} == {
            "device-2": "counted",
            "device-3": "counted",
        }
        assert [one.kind for one in database.events()] == ["waiting", "round-started", "round", "waiting"]


def test_only_the_willing_are_asked(fleet: Fleet) -> None:
    unwilling = {1}
    fleet.grid.greet = lambda device, _: hello_reply(
        f"device-{device}", "mlp-small", willing=device not in unwilling
    )
    fleet.schedule = Schedule(most_rounds_a_day=1)
    fleet.day.at = [(1, fleet.stop)]
    fleet.run()
    assert sorted(device for device, _ in fleet.grid.tasks) == [0, 2, 3]
    with FleetDatabase.open(fleet.folder) as database:
        assert [one.willing for one in database.devices()] == [True, False, True, True]


def test_a_round_in_which_the_network_goes_is_done_again_and_counts_once(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered, gone = fleet.grid.pull_messages, [True]

    def pull(message_ids: list[str]) -> list[Message]:
        found = answered(message_ids)
        if gone and any(one.metadata.message_type == "train" for one in found):
            gone.pop()
            raise httpx.ConnectError("nobody is there")
        return found

    monkeypatch.setattr(fleet.grid, "pull_messages", pull)
    fleet.config = replace(fleet.config, rounds=2, continuous=False)
    assert [number for number, _ in fleet.run()] == [1, 2]
    assert [one.reason for one in fleet.waits] == ["outage"]
    store = RunStore(fleet.folder)
    assert [record.accepted for record in store.records()] == [4, 4]


def test_an_error_of_ours_ends_the_run(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(messages: list[Message]) -> list[str]:
        request = httpx.Request("POST", "https://server")
        raise httpx.HTTPStatusError("no", request=request, response=httpx.Response(403, request=request))

    monkeypatch.setattr(fleet.grid, "push_messages", refuse)
    with pytest.raises(httpx.HTTPStatusError):
        fleet.run()


class Seconds(ScriptedGrid):
    """A scripted fleet with a clock of its own, in which the first device never answers."""

    now = 0.0

    @property
    def clock(self) -> Seconds:
        return self

    def now_s(self) -> float:
        return self.now

    def wait(self, pause_s: float, *, until_s: float) -> None:
        self.now = min(self.now + pause_s, until_s)

    def _greet_one(self, device: int, content: RecordDict) -> RecordDict | Error:
        return (
            Error(code=99, reason="never delivered") if device == 0 else super()._greet_one(device, content)
        )


def test_who_does_not_answer_is_waited_for_once_and_not_long_where_enough_are_there() -> None:
    grid, roster = Seconds(devices=3), Roster("0123abcd", ("mlp-small",))

    def asked(enough: int) -> float:
        """Seconds that it takes to have devices say whether they are willing."""
        began = grid.now
        patience = Patience(usual_s=5, most_s=15, enough=enough)
        roster.ask_anew(grid, patience, fresh_s=60, most=10)
        assert sorted(roster.willing) == ["device-1", "device-2"]
        return grid.now - began

    assert 5 <= asked(2) < 7
    grid.now += 70
    assert asked(3) == 0
    grid.now += 200
    assert asked(3) == 0
    grid, roster = Seconds(devices=3), Roster("0123abcd", ("mlp-small",))
    assert asked(3) == 15
