"""Begins the rounds of a run over a trace as its pace says, in virtual time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from fedstill_server.config.fleet import ConfigError
from fedstill_server.rounds.clock import clock_of
from fedstill_server.rounds.roster import Member, Roster
from flwr.serverapp import Grid

from fedstill_sim.traces.columns import DAY_S
from fedstill_sim.traces.pace import LOOK_AGAIN_S, TracePace
from fedstill_sim.traces.schedule import TraceSchedule


class TracePacing:
    """The pace of a run over a trace."""

    def __init__(
        self, pace: TracePace, schedule: TraceSchedule, *, rounds: int, ended_s: Sequence[float] = ()
    ) -> None:
        """TracePace a run.

        Args:
            pace: The rules.
            schedule: Who is there.
            rounds: How many rounds there are.
            ended_s: When the rounds of an earlier start of the run ended.
        """
        self._pace, self._schedule, self._rounds = pace, schedule, rounds
        self._ended_s = list(ended_s)

    def members(self, number: int, roster: Roster, grid: Grid) -> Mapping[str, Member] | None:
        """Let virtual time pass until the round may begin; the devices that are there then."""
        if number > self._rounds:
            return None
        clock = clock_of(grid)
        if number > len(self._ended_s) + 1:  # the round before has been committed since
            self._ended_s.append(clock.now_s())
        until_s = clock.now_s() + 4 * max(self._schedule.windows.span_s, 7 * DAY_S)
        while True:
            allowed_s = self._pace.allowed_at(clock.now_s(), self._ended_s)
            if allowed_s <= clock.now_s():
                if int(self._schedule.there(clock.now_s()).sum()) >= self._pace.least_devices:
                    break
                allowed_s = clock.now_s() + LOOK_AGAIN_S
            if clock.now_s() > until_s:
                raise ConfigError(
                    f"trace: round {number} never begins: since day {until_s / DAY_S - 28:.0f} fewer than "
                    f"{self._pace.least_devices} devices are there at a time; lower --least-devices or "
                    "--goal-count, or take a trace from which fewer devices leave"
                )
            clock.wait(LOOK_AGAIN_S, until_s=allowed_s)
        roster.update(grid)
        return roster.willing

    def outlives(self, error: Exception, number: int) -> bool:
        """Never: whoever started the run sees the error."""
        return False

    def in_force(self) -> AbstractContextManager[object]:
        """Always."""
        return nullcontext()

    def time_text(self) -> str:
        """Nothing: records have the virtual second."""
        return ""
