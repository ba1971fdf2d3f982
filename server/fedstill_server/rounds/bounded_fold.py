"""The consensus of a round of answers without noise: one pass compares them, where the method does, one sums.

No pass keeps an answer, but in folds that say so; each is read against the state that it answers, and
weighted by its age.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from fedstill_server.config.fleet import AsyncRule
from fedstill_server.consensus.aggregation import Statistics
from fedstill_server.consensus.exact_sum import ExactFold
from fedstill_server.consensus.folds.norms import Norms
from fedstill_server.methods.interface import Method
from fedstill_server.rounds.partial_fold import PartialFold, no_answers, settled
from fedstill_server.rounds.staleness import weight_of
from fedstill_server.state import FleetState

if TYPE_CHECKING:
    from fedstill_server.rounds.gate import Answer


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
    parts = {
        one: PartialFold(
            method,
            state_of(one),
            one,
            weight=1.0 if one == round_number else weight_of(round_number - one, rule),
        )
        for one in sorted({answer.round for answer in answers})
    }
    norms, total = ExactFold(Norms()), no_answers(method, round_number)
    runs = [
        (one, [answer.summary for answer in of]) for one, of in groupby(answers, lambda answer: answer.round)
    ]
    for one, summaries in runs:
        parts[one].norms(summaries, into=norms)
    known = norms.result()
    for one, summaries in runs:
        parts[one].fold(summaries, known, into=total)
    return settled(method, total, round_number=round_number)
