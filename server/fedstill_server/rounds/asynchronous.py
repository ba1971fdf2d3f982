"""Mode async: the server learns whenever a buffer of summaries is full, and no device waits for another.

This is FedBuff (Nguyen et al. 2022, arXiv 2106.06639) for summaries instead of model updates: devices work on
the state that was the newest when they were asked; as soon as there are K = `buffer` good summaries they
are folded, each weighted by its age (staleness.py), and the server learns. With K = 1 it is FedAsync (Xie et
al. 2019, arXiv 1903.03934). Summaries that arrive together with the K-th are folded with it, so that no
summary that was delivered is ever lost to a restart. Answers older than `max_age` are quarantined.

A device gets its next task when it has answered and there is a newer state than the one it has answered:
doing the same task again would give the same answer, which is not to count twice. A round here is what passes
between one time that the server learns and the next, and the cohort rule is how many devices work at a
time. If all devices that are there have answered, or do not in time, the server learns from what it has.
"""

from __future__ import annotations

from collections.abc import Mapping

from fedstill_server.randomness import generator
from fedstill_server.rounds import events
from fedstill_server.rounds.dispatch import OpenRound, RoundReplies, TaskDispatcher
from fedstill_server.rounds.roster import Member
from fedstill_server.rounds.run_store import Checkpoint
from fedstill_server.rounds.sampling import select_cohort


class Asynchronous:
    """Fills one buffer after the other."""

    def __init__(self, dispatcher: TaskDispatcher) -> None:
        self._dispatcher = dispatcher
        self._rule = dispatcher.config.asynchronous
        self.keeps = self._rule.max_age  # states that a summary may still answer

    def gather(self, before: Checkpoint, members: Mapping[str, Member]) -> RoundReplies:
        """Keep devices at work until the buffer is full."""
        config = self._dispatcher.config
        open_round = self._dispatcher.begin(before, keep=self.keeps)
        order = self._order(open_round.number, members)
        at_work = len(select_cohort(members, config.cohort, seed=config.seed, round_number=open_round.number))

        def ask_the_idle() -> None:
            busy = {question.device for question in open_round.waiting.values()}
            idle = [
                member
                for member in order
                if member.device not in busy and member.device not in open_round.asked
            ]
            if free := idle[: max(0, at_work - len(busy))]:
                open_round.ask(free)

        def full() -> bool:
            return len(open_round.gate.answers) >= self._rule.buffer

        ask_the_idle()
        events.publish(
            events.RoundStarted(round=open_round.number, rounds=config.rounds, asked=len(open_round.asked))
        )
        while not full() and open_round.gate.waiting:
            open_round.collect(enough=full, deadline_s=self._seconds_left(open_round), after=ask_the_idle)
            if not full():
                open_round.give_up(self._expired(open_round), quarantine=True)
                ask_the_idle()
        counted = sorted(open_round.gate.answers, key=lambda answer: (answer.device, answer.round))
        return open_round.end(counted, present=len(members))

    def _order(self, number: int, members: Mapping[str, Member]) -> list[Member]:
        """The order in which idle devices are asked."""
        names = sorted(members)
        order = generator(self._dispatcher.config.seed, number, "idle").permutation(len(names))
        return [members[names[place]] for place in order]

    def _deadline_s(self, asked_s: float) -> float:
        return asked_s + self._dispatcher.config.cohort.deadline_s

    def _seconds_left(self, open_round: OpenRound) -> float:
        """Seconds until the first open question has had its time."""
        first = min(self._deadline_s(question.asked_s) for question in open_round.waiting.values())
        return max(0.0, first - self._dispatcher.clock.now_s())

    def _expired(self, open_round: OpenRound) -> list[str]:
        now_s = self._dispatcher.clock.now_s()
        waiting = open_round.waiting.items()
        return [key for key, question in waiting if self._deadline_s(question.asked_s) <= now_s]
