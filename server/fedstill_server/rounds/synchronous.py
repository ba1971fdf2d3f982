"""Mode rounds: a cohort is asked, and the server learns from enough answers, or at the deadline."""

from __future__ import annotations

from collections.abc import Mapping

from fedstill_server.rounds import events
from fedstill_server.rounds.dispatch import RoundReplies, TaskDispatcher
from fedstill_server.rounds.oort import UtilityState, select_by_utility
from fedstill_server.rounds.roster import Member
from fedstill_server.rounds.run_store import Checkpoint
from fedstill_server.rounds.sampling import counted_answers, goal_of, select_cohort


class Synchronous:
    """Gathers the answers of one cohort after the other."""

    keeps = 0  # states of earlier rounds: nobody answers them

    def __init__(self, dispatcher: TaskDispatcher) -> None:
        self._dispatcher = dispatcher

    def gather(self, before: Checkpoint, members: Mapping[str, Member]) -> RoundReplies:
        """Ask a cohort of the members, and wait for as many good answers as the rule wants."""
        config = self._dispatcher.config
        rule, number = config.cohort, before.round + 1
        cohort = select_cohort(members, rule, seed=config.seed, round_number=number)
        if rule.select == "oort":
            known = before.selection or UtilityState()
            wanted = len(cohort)
            cohort = select_by_utility(members, wanted, known, seed=config.seed, round_number=number)
        goal = goal_of(rule, len(members))
        events.publish(events.RoundStarted(round=number, rounds=config.rounds, asked=len(cohort)))
        open_round = self._dispatcher.begin(before, keep=self.keeps)
        open_round.ask([members[device] for device in cohort])
        open_round.collect(enough=lambda: len(open_round.gate.answers) >= goal, deadline_s=rule.deadline_s)
        # Who was not waited for, since the goal came first, has not failed.
        open_round.give_up(open_round.gate.waiting, quarantine=len(open_round.gate.answers) < goal)
        return open_round.end(counted_answers(open_round.gate.answers, cohort, goal), present=len(members))
