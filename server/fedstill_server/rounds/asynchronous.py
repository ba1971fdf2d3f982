"""Mode async: the server learns whenever a buffer of summaries is full, and nobody waits for anybody.

This is FedBuff (Nguyen et al. 2022, arXiv 2106.06639) for summaries instead of model updates: devices work on
whatever state was the newest when they were asked; as soon as K = `buffer` good summaries are in hand they
are folded, each weighed by its age (staleness.py), and the server learns. With K = 1 it is FedAsync (Xie et
al. 2019, arXiv 1903.03934). What comes in the same look as the K-th summary is folded with it, so that no
summary that was delivered is ever lost to a restart. Answers older than `max_age` are quarantined.

A device gets its next task when it has answered and there is a newer state than the one it has answered:
doing the same task again would give the same answer, which is not to count twice. A round here is what passes
between one time that the server learns and the next, and the cohort rule says how many devices work at a
time. If all that are there have answered, or do not in time, the server learns from what it has.
"""

from __future__ import annotations

from collections.abc import Mapping

from fedstill_server.randomness import generator
from fedstill_server.rounds import events
from fedstill_server.rounds.dispatch import AskedRound, Asker, Gathered
from fedstill_server.rounds.roster import Member
from fedstill_server.rounds.run_store import Checkpoint
from fedstill_server.rounds.sampling import select_cohort


class Asynchronous:
    """Fills one buffer after the other."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._rule = asker.config.asynchronous
        self.keeps = self._rule.max_age  # states that a summary may still answer

    def gather(self, before: Checkpoint, members: Mapping[str, Member]) -> Gathered:
        """Keep devices at work until the buffer is full."""
        config = self._asker.config
        asked = self._asker.begin(before, keep=self.keeps)
        order = self._order(asked.number, members)
        at_work = len(select_cohort(members, config.cohort, seed=config.seed, round_number=asked.number))

        def ask_the_idle() -> None:
            busy = {question.device for question in asked.waiting.values()}
            idle = [one for one in order if one.device not in busy and one.device not in asked.asked]
            if free := idle[: max(0, at_work - len(busy))]:
                asked.ask(free)

        def full() -> bool:
            return len(asked.gate.answers) >= self._rule.buffer

        ask_the_idle()
        events.publish(events.RoundStarted(round=asked.number, rounds=config.rounds, asked=len(asked.asked)))
        while not full() and asked.gate.waiting:
            asked.collect(enough=full, deadline_s=self._seconds_left(asked), after=ask_the_idle)
            if not full():
                asked.give_up(self._expired(asked), quarantine=True)
                ask_the_idle()
        counted = sorted(asked.gate.answers, key=lambda answer: (answer.device, answer.round))
        return asked.end(counted, present=len(members))

    def _order(self, number: int, members: Mapping[str, Member]) -> list[Member]:
        """Who is asked first, of those that are idle."""
        names = sorted(members)
        order = generator(self._asker.config.seed, number, "idle").permutation(len(names))
        return [members[names[place]] for place in order]

    def _deadline_s(self, asked_s: float) -> float:
        return asked_s + self._asker.config.cohort.deadline_s

    def _seconds_left(self, asked: AskedRound) -> float:
        """Until the first open question has had its time."""
        first = min(self._deadline_s(question.asked_s) for question in asked.waiting.values())
        return max(0.0, first - self._asker.clock.now_s())

    def _expired(self, asked: AskedRound) -> list[str]:
        now_s = self._asker.clock.now_s()
        return [key for key, one in asked.waiting.items() if self._deadline_s(one.asked_s) <= now_s]
