"""The pace of a real fleet: rounds wait for their window, for the day's allowance, and for devices.

Nothing that a fleet may lack for a while ends it: where no device is there, or the network or a database is
gone, its rounds wait, and tell what for.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
from fedstill_proto.errors import FedstillError
from flwr.serverapp import Grid

from fedstill_server.config.fleet import FleetConfig
from fedstill_server.config.schedule import Schedule
from fedstill_server.rounds import events
from fedstill_server.rounds.clock import Clock, WallClock
from fedstill_server.rounds.roster import Member, Patience, Roster
from fedstill_server.rounds.round_record import RoundRecord

_LOOK_AGAIN_S = 2.0
_AFTER_OUTAGE_S = 10.0
_ANSWER_S, _ANSWER_WITHIN_S = 5.0, 15.0  # a greeting, once a device has it: it starts a process for it
_LONGEST_GREETING_S = 300.0
_FRESH_S, _LONGEST_FRESH_S = 60.0, 600.0  # a device's word; it takes a process to say it
_GREETED_AT_ONCE = 1000

log = logging.getLogger("fedstill.schedule")


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class FleetView:
    """What the pace of a fleet is told, anew each time that it asks.

    Attributes:
        schedule: The fleet's schedule as it is now.
        registered: How many devices are registered.
        last_records: The newest rounds, newest first, as many as asked for.
        held: Why no round may begin, whatever the schedule says; empty where nothing is in the way.
        superseded: Whether the run is over, since the fleet does something else from now on.
        outstays: Whether the run goes on after its last round, only for what is done meanwhile.
        meanwhile: Called every few seconds while rounds wait, and before each.
        in_force: Guards what is written down for the run's generation.
    """

    schedule: Callable[[], Schedule]
    registered: Callable[[], int]
    last_records: Callable[[int], Sequence[RoundRecord]]
    held: Callable[[], str] = lambda: ""
    superseded: Callable[[], bool] = lambda: False
    outstays: Callable[[], bool] = lambda: False
    meanwhile: Callable[[Grid], None] = lambda grid: None
    in_force: Callable[[], AbstractContextManager[object]] = nullcontext


class Scheduled:
    """The pace of a real fleet."""

    def __init__(
        self,
        config: FleetConfig,
        view: FleetView,
        *,
        now: Callable[[], datetime] = _now,
        clock: Clock | None = None,
    ) -> None:
        """Look at nothing yet.

        Args:
            config: What the fleet's run does.
            view: What is looked at before each round.
            now: Gives the time, with its zone.
            clock: Lets time pass; None is the wall's.
        """
        self._config, self._view, self._now = config, view, now
        self._clock = clock or WallClock()
        self._read_for, self._last_ended = (0, 0), list[datetime]()
        self._told = ""
        self._fresh_s = _FRESH_S
        self._schedule = Schedule.usual(continuous=config.continuous)

    def members(self, number: int, roster: Roster, grid: Grid) -> Mapping[str, Member] | None:
        """Wait until the round may begin; the devices that are willing, None where there is no such round."""
        while not self._is_over(number):
            awaited = self._closed(number)
            try:
                self._view.meanwhile(grid)
                members = {} if awaited is not None else self._willing(roster, grid)
            except (httpx.HTTPError, OSError) as error:
                if not is_outage(error):
                    raise
                awaited = self._outage(error, number)
            else:
                if awaited is None:
                    awaited = self._too_few(members, number)
                    if awaited is None:
                        self._told, self._fresh_s = "", _FRESH_S
                        return members
                    # Who is not willing is asked ever more seldom; who is new, at once.
                    self._fresh_s = min(1.5 * self._fresh_s, _LONGEST_FRESH_S)
            self._wait(awaited)
        return None

    def outlives(self, error: Exception, number: int) -> bool:
        """Whether an outage ended the round; if so, returns after a pause, and the round is done again."""
        if not is_outage(error):
            return False
        log.warning("round %d was interrupted", number, exc_info=error)
        self._wait(self._outage(error, number))
        return True

    def in_force(self) -> AbstractContextManager[object]:
        """A context in which the run's generation stays in force."""
        return self._view.in_force()

    def time_text(self) -> str:
        """What time it is, in ISO 8601 and UTC."""
        return self._now().astimezone(UTC).isoformat(timespec="seconds")

    def _is_over(self, number: int) -> bool:
        return (self._is_after_last(number) and not self._view.outstays()) or self._view.superseded()

    def _is_after_last(self, number: int) -> bool:
        return number > self._config.rounds and not self._config.continuous

    def _closed(self, number: int) -> events.RoundAwaited | None:
        """What the calendar, the operator and the day's allowance have against a round; None is nothing."""
        try:
            schedule = self._schedule = self._view.schedule()
            held = self._view.held()
        except (FedstillError, OSError) as error:  # somebody has edited it by hand
            return self._awaited(number, "held", str(error))
        if self._is_after_last(number):
            return self._awaited(
                number, "release", "all rounds are done; devices are asked about the release on its way"
            )
        now = self._now()
        if schedule.paused:
            return self._awaited(
                number, "paused", "rounds are paused; fedstill-server resume lets them go on"
            )
        if held:
            return self._awaited(number, "held", held)
        if schedule.opened_until(now) is None:
            opens_at = schedule.next_window_at(now)
            return self._awaited(
                number, "window", f"the next window opens at {schedule.text_of(opens_at)}", opens_at
            )
        return self._spent(number, schedule, now)

    def _ended(self, number: int, count: int) -> list[datetime]:
        """When the last rounds before this one ended, newest first; read once for each round."""
        if self._read_for != (number, count):
            self._read_for = number, count
            times = (record.finished_at for record in self._view.last_records(count))
            self._last_ended = [datetime.fromisoformat(text) for text in times if text]
        return self._last_ended

    def _spent(self, number: int, schedule: Schedule, now: datetime) -> events.RoundAwaited | None:
        most = schedule.most_rounds_a_day
        ended = self._ended(number, max(most or 0, 1))
        today = sum(schedule.day_of(moment) == schedule.day_of(now) for moment in ended)
        if most is not None and today >= most:
            resumes = schedule.next_window_at(schedule.next_day_at(now))
            text = f"{today} of {most} rounds a day are done; the next is at {schedule.text_of(resumes)}"
            return self._awaited(number, "allowance", text, resumes)
        if ended and timedelta() <= now - ended[0] < timedelta(seconds=schedule.least_pause_s):
            resumes = ended[0] + timedelta(seconds=schedule.least_pause_s)
            text = f"the pause after the last round lasts until {schedule.text_of(resumes)}"
            return self._awaited(number, "pause-between", text, resumes)
        return None

    def _least_devices(self) -> int:
        """How many devices have to be there: as the schedule says, or what a round waits for, or half."""
        usual = self._config.cohort.goal_count or math.ceil(self._view.registered() / 2)
        return max(self._schedule.least_devices or usual, 1)

    def _willing(self, roster: Roster, grid: Grid) -> Mapping[str, Member]:
        """The devices that say that they would do a round now."""
        wanted = self._least_devices()
        look_s = self._schedule.look_after_s(self._view.registered())
        roster.ask_anew(
            grid,
            Patience(
                usual_s=min(_ANSWER_S + 1.5 * look_s, _LONGEST_GREETING_S),
                most_s=min(_ANSWER_WITHIN_S + 1.5 * look_s, _LONGEST_GREETING_S),
                enough=wanted,
            ),
            fresh_s=max(self._fresh_s, 2 * look_s),
            most=max(_GREETED_AT_ONCE, math.ceil(2 * wanted * self._config.cohort.over_selection)),
        )
        return roster.willing

    def _too_few(self, members: Mapping[str, Member], number: int) -> events.RoundAwaited | None:
        wanted = self._least_devices()
        if len(members) >= wanted:
            return None
        text = f"{len(members)} of the {wanted} devices that a round needs are there and willing"
        return self._awaited(number, "devices", text)

    def _outage(self, error: Exception, number: int) -> events.RoundAwaited:
        text = f"{type(error).__name__}: {error}"[:300]
        resumes = self._now() + timedelta(seconds=_AFTER_OUTAGE_S)
        return self._awaited(
            number, "outage", f"the network, the database or the disk is gone: {text}", resumes
        )

    def _awaited(
        self, number: int, reason: str, text: str, until: datetime | None = None
    ) -> events.RoundAwaited:
        return events.RoundAwaited(
            round=number,
            reason=reason,
            text=text,
            until=None if until is None else until.timestamp(),
            next_window_at=self._schedule.next_window_at(self._now()).timestamp(),
        )

    def _wait(self, awaited: events.RoundAwaited) -> None:
        """Tell what is waited for, once, and let some time pass."""
        if awaited.text != self._told:
            self._told = awaited.text
            log.info("round %d waits: %s", awaited.round, awaited.text)
            events.publish(awaited)
        pause_s = _AFTER_OUTAGE_S if awaited.reason == "outage" else _LOOK_AGAIN_S
        if awaited.until is not None:
            pause_s = max(min(pause_s, awaited.until - self._now().timestamp()), 0.05)
        self._clock.wait(pause_s, until_s=self._clock.now_s() + pause_s)


def is_outage(error: Exception) -> bool:
    """Whether an error says that the network, a server's database or the disk is gone for a while."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500
    return isinstance(error, httpx.TransportError | OSError)
