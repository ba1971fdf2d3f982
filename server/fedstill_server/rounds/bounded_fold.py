"""The consensus of a round of answers without noise: one pass compares them, where the method does, one sums.

No pass keeps an answer, but in folds that say so; each is read against the state that it answers, and
weighted by its age.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fedstill_server.config.fleet import AsyncRule
from fedstill_server.consensus.aggregation import Statistics, fold
from fedstill_server.consensus.folds.norms import Norms
from fedstill_server.methods.interface import Method
from fedstill_server.rounds.gate import Answer
from fedstill_server.rounds.staleness import weight_of
from fedstill_server.state import FleetState


def bounded_consensus(
    method: Method,
    answers: Sequence[Answer],
    state_of: Callable[[int], FleetState],
    *,
    round_number: int,
    rule: AsyncRule,
) -> Statistics:
    """What the method learns from.

    Args:
        method: The method.
        answers: The answers that count.
        state_of: The state that the tasks of a round were made from.
        round_number: The round.
        rule: What an old answer counts.
    """
    rounds = sorted({answer.round for answer in answers})
    says = {one: method.contribution(state_of(one), round_number=one) for one in rounds}
    norms = Norms()
    if method.compares:
        norms = fold((method.norms(says[answer.round](answer.summary)) for answer in answers), norms)
    bounded = {one: method.bounded(norms, state_of(one), round_number=one) for one in rounds}

    def part(answer: Answer) -> Statistics:
        age = round_number - answer.round
        fresh = bounded[answer.round](says[answer.round](answer.summary))
        return fresh if age == 0 else fresh.weighted(weight_of(age, rule))

    total: Statistics = fold(map(part, answers), method.bounded_zero(round_number=round_number))
    settled: Statistics = method.settled(total, round_number=round_number) if total.devices > 0 else total
    return settled
