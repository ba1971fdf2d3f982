"""Who takes part in a round, and how many answers end it.

A round with a goal asks more devices than it needs (over-selection; Bonawitz et al. 2019, arXiv 1902.01046),
and ends when as many good answers have arrived, or at the deadline with those that have. Later answers are
counted and left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from fedstill_proto.arrays import IntArray

from fedstill_server.config.fleet import CohortRule
from fedstill_server.randomness import generator

if TYPE_CHECKING:
    from fedstill_server.rounds.gate import Answer


def select_cohort(devices: Iterable[str], rule: CohortRule, *, seed: int, round_number: int) -> list[str]:
    """Device names in a random order that depends on nothing but the names, the seed and the round."""
    names = sorted(devices)
    chosen = cohort_places(len(names), rule, seed=seed, round_number=round_number)
    return [names[place] for place in chosen.tolist()]


def cohort_places(devices: int, rule: CohortRule, *, seed: int, round_number: int) -> IntArray:
    """The same where so many devices are there: the places of their names among all, in order [n]."""
    order = generator(seed, round_number, "cohort").permutation(devices)
    if rule.goal_count == 0 and rule.fraction == 0:
        return order
    return order[: math.ceil(goal_of(rule, devices) * rule.over_selection)]


def goal_of(rule: CohortRule, devices: int) -> int:
    """How many good answers end a round when so many devices are there."""
    if rule.fraction > 0:
        return min(max(1, round(rule.fraction * devices)), devices)
    return min(rule.goal_count or devices, devices)


def counted_answers(answers: Sequence[Answer], cohort: Sequence[str], goal: int) -> list[Answer]:
    """The first `goal` answers in the order of selection, sorted by device.

    Which answers count must not depend on the order of arrival, as that is chance; nor may the order of the
    sum, as sums of floats depend on it.
    """
    if len(answers) > goal:
        place = {device: index for index, device in enumerate(cohort)}
        answers = sorted(answers, key=lambda answer: place[answer.device])[:goal]
    return sorted(answers, key=lambda answer: answer.device)
