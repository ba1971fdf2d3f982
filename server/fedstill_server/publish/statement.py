"""What a fleet's run asks of its devices, as a statement that is signed with each package.

A device holds it against its owner's policy when it enrols, keeps it, and refuses what goes beyond it
afterwards. It is read off the tasks themselves, for devices that have a student and that have none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod

from fedstill_proto.messages import RoundTask
from fedstill_proto.task_bounds import TaskBounds

from fedstill_server.config.fleet import FleetConfig
from fedstill_server.methods import Method
from fedstill_server.state import FleetState
from fedstill_server.tasks import label_shape

MOST_ROUNDS_A_DAY = 50
"""What a device does in a day unless its owner allows more; longer runs take more days."""

_LOOKED_AT = 40  # rounds: which public rows they ask about comes round again


def statement_of(
    config: FleetConfig,
    method: Method,
    state: FleetState,
    family: str,
    *,
    most_rounds_a_day: int | None = None,
) -> TaskBounds:
    """What devices of a family will be asked.

    Args:
        config: The fleet's.
        method: Its method, bound to it.
        state: The newest.
        family: The devices'.
        most_rounds_a_day: By the fleet's schedule; None is no limit.
    """
    places = prod(label_shape(config))
    asked = TaskBounds.covering(
        TaskBounds.of_task(task, classes=config.classes, places=places)
        for task in _tasks(config, method, state, family)
    )
    # A round is asked again where a device or the server was killed.
    wanted = most_rounds_a_day or (MOST_ROUNDS_A_DAY if config.continuous else config.own_rounds)
    wanted = wanted if config.continuous else min(wanted, config.own_rounds)
    rounds = wanted if config.mode == "rounds" else wanted * config.asynchronous.buffer
    a_day = min(2 * rounds, max(MOST_ROUNDS_A_DAY, wanted))
    counted = config.privacy is None or config.privacy.measured
    return replace(asked, rounds_a_day=a_day, evaluations_a_day=a_day if counted else 0)


def _tasks(config: FleetConfig, method: Method, state: FleetState, family: str) -> Iterator[RoundTask]:
    counted = config.privacy is None or config.privacy.measured
    first = config.begins_after + 1
    rounds = _LOOKED_AT if config.continuous else min(config.own_rounds, _LOOKED_AT)
    for number in range(first, first + rounds):
        for newcomer in (True, False):
            yield method.task(state, round_number=number, family=family, newcomer=newcomer)
            if counted:
                yield method.evaluation(state, round_number=number, family=family, newcomer=newcomer)
