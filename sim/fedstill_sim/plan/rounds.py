"""The rounds of a run over a trace, without any training: who is asked, who answers, and when a round ends.

The rules are the server's (rounds.synchronous, rounds.sampling): a cohort is drawn from those that are there,
a round ends with its goal of answers, when nobody is left to wait for, or at the deadline; devices that are
late go on with what they do. All devices of a round are handled at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import IntArray
from fedstill_proto.errors import FedstillError
from fedstill_server.config.fleet import CohortRule
from fedstill_server.randomness import generator
from fedstill_server.rounds.sampling import goal_of

from fedstill_sim.traces.columns import DAY_S, Floats
from fedstill_sim.traces.pace import LOOK_AGAIN_S, TracePace
from fedstill_sim.traces.schedule import TraceSchedule

_LARGE = 2000  # devices: of more, a plan need not hit the minute at which enough are there
_LOOK_AT_LARGE_S = 900.0
_GIVES_UP_AFTER_DAYS = 28.0


class RoundNeverBegins(FedstillError):
    """At no time as many devices are there as a round needs."""


@dataclass(frozen=True, eq=False)
class PlannedRounds:
    """The rounds of one draw.

    Attributes:
        started_s: When each round began [rounds].
        ended_s: When it ended [rounds].
        asked: How many devices were asked [rounds].
        answered: How many answers counted [rounds].
        tasks: How many tasks each device got [devices].
        answers: How many times each worked until it had sent an answer, in time or late [devices].
    """

    started_s: Floats
    ended_s: Floats
    asked: IntArray
    answered: IntArray
    tasks: IntArray
    answers: IntArray

    @property
    def days(self) -> float:
        """Days until the last round has ended."""
        return float(self.ended_s[-1]) / DAY_S


@dataclass(frozen=True, kw_only=True)
class RoundBytes:
    """Bytes of a task and of an answer."""

    down: float
    up: float


def planned_rounds(
    schedule: TraceSchedule,
    pace: TracePace,
    cohort: CohortRule,
    *,
    rounds: int,
    sizes: RoundBytes,
    seed: int,
) -> PlannedRounds:
    """Let a run's rounds pass.

    Args:
        schedule: The fleet's.
        pace: When rounds may begin.
        cohort: Whom they ask, and when they end.
        rounds: How many.
        sizes: Of their messages.
        seed: Of the cohorts.

    Raises:
        RoundNeverBegins: For 28 days, or four of the trace's spans, too few devices are there for a round.
    """
    devices = schedule.windows.devices
    busy_until = np.zeros(devices)
    tasks, answers = np.zeros(devices, np.int64), np.zeros(devices, np.int64)
    started: list[float] = []
    ended: list[float] = []
    asked: list[int] = []
    answered: list[int] = []
    now_s = 0.0
    for number in range(1, rounds + 1):
        now_s, there = _begin(schedule, pace, now_s, ended, number)
        goal = goal_of(cohort, len(there))
        wanted = len(there)
        if cohort.goal_count or cohort.fraction:
            wanted = min(math.ceil(goal * cohort.over_selection), wanted)
        chosen = there[generator(seed, number, "plan/cohort").permutation(len(there))[:wanted]]
        began_s = np.maximum(now_s, busy_until[chosen])
        worked_s = schedule.worked_at(chosen, began_s, np.full(wanted, sizes.down))
        sent_s = schedule.sent_at(chosen, worked_s, np.full(wanted, sizes.up))
        ends_s, counted = _end(sent_s, now_s, goal, cohort.deadline_s)
        started.append(now_s)
        ended.append(ends_s)
        asked.append(wanted)
        answered.append(counted)
        tasks[chosen] += 1
        done = np.isfinite(sent_s)
        answers[chosen[done]] += 1
        busy_until[chosen[done]] = sent_s[done]
        now_s = ends_s
    return PlannedRounds(
        np.array(started), np.array(ended), np.array(asked), np.array(answered), tasks, answers
    )


def _begin(
    schedule: TraceSchedule, pace: TracePace, now_s: float, ended: list[float], number: int
) -> tuple[float, IntArray]:
    """(when the next round begins, the devices that are there then)."""
    gives_up_s = now_s + max(4 * schedule.windows.span_s, _GIVES_UP_AFTER_DAYS * DAY_S)
    look_s = LOOK_AGAIN_S if schedule.windows.devices <= _LARGE else _LOOK_AT_LARGE_S
    while True:
        now_s = pace.allowed_at(now_s, ended)
        there = np.flatnonzero(schedule.there(now_s))
        if len(there) >= pace.least_devices:
            return now_s, there
        if now_s > gives_up_s:
            raise RoundNeverBegins(
                f"round {number} never begins: until day {now_s / DAY_S:.0f} fewer than "
                f"{pace.least_devices} devices are there at a time; lower --least-devices or --goal-count, "
                "or plan for more devices"
            )
        now_s += look_s


def _end(sent_s: Floats, began_s: float, goal: int, deadline_s: float) -> tuple[float, int]:
    """(when a round ends, how many answers count)."""
    by_deadline = np.sort(sent_s[sent_s <= began_s + deadline_s])
    if len(by_deadline) >= goal:
        return float(by_deadline[goal - 1]), goal
    if len(by_deadline) == len(sent_s):
        return float(by_deadline[-1]) if len(by_deadline) else began_s, len(by_deadline)
    return began_s + deadline_s, len(by_deadline)
