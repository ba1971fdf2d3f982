"""What happens before the first round: a teacher learns the public set, and the students start from it."""

from __future__ import annotations

import dataclasses
import json
from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from fedstill_server.config.choice import Choice
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.data.examples import Examples
from fedstill_server.families import FAMILIES
from fedstill_server.methods import Method
from fedstill_server.state import FleetState, digest_of
from fedstill_server.tasks import task_of, training_of
from fedstill_server.teachers.registry import teacher_stands_for
from fedstill_server.training.networks import parameters_of


def prepare(
    config: FleetConfig, public: Examples, method: Method, *, teaching: Examples | None = None
) -> FleetState:
    """The state of round 0. Students start `distilled` from the teacher, or `random`.

    A teacher that has learned nothing has nothing to distil: without public labels both starts are the same.
    teaching: what is learned before the first round, where that is more than the public set that devices get.
    """
    return method.start(_taught(config, public if teaching is None else teaching))


def _taught(config: FleetConfig, teaching: Examples) -> FleetState:
    """Teacher and students as they are under every method."""
    training = training_of(config)
    teacher = training.taught_teacher(teaching)
    taught = config.teacher.trained or (teaching.y is not None and config.use_public_labels)
    students = {}
    for family in config.families:
        if config.start == "distilled" and taught:
            students[family] = training.distilled_student(family, teaching, teacher)
        else:
            students[family] = parameters_of(training.student(family))
    return FleetState(teacher=teacher, students=students)


class PreparedState(NamedTuple):
    """Teacher and students as they are under every method, and all that they depend on."""

    described: str
    state: FleetState


class PreparationCache:
    """The last few states that this process has prepared: runs that are compared differ in their method, and
    start from the same teacher and students.
    """

    def __init__(self, *, kept: int = 4) -> None:
        self._kept = kept
        self._states: OrderedDict[tuple[object, ...], FleetState] = OrderedDict()
        self._taken_over: dict[str, FleetState] = {}

    def prepare(self, config: FleetConfig, public: Examples, method: Method) -> FleetState:
        """As the function `prepare`."""
        described = _described(config, public)
        key = (described, *_defined(config))
        state = self._states.pop(key, None) or self._taken_over.get(described) or _taught(config, public)
        self._states[key] = state
        while len(self._states) > self._kept:
            self._states.popitem(last=False)
        return method.start(state)

    def handed_over(self) -> list[PreparedState]:
        """What another process need not prepare, which has no classes of one's own (see `take_over`)."""
        return [PreparedState(str(key[0]), state) for key, state in self._states.items()]

    def take_over(self, prepared: Iterable[PreparedState]) -> None:
        """Use what another process of the same version has prepared, in runs without classes of one's own."""
        self._taken_over |= dict(prepared)


PREPARATIONS = PreparationCache()
"""Of this process."""


def _defined(config: FleetConfig) -> list[object]:
    """The classes and functions of one's own, which may be defined anew under the same names."""
    network = config.teacher.network
    return [
        *(FAMILIES.stands_for(name) for name in config.families if FAMILIES.is_own(name)),
        *([teacher_stands_for(network)] if network else []),
        type(task_of(config)),
    ]


def _described(config: FleetConfig, public: Examples) -> str:
    """All that teacher and students depend on, and more: a run's name, method and length aside."""
    alike = dataclasses.replace(
        config,
        run="00000000",
        method=Choice(name="local"),
        rounds=1,
        public_set="",
        test_set=None,
        privacy=None,
        secure_sums=None,
    )
    arrays = {"x": public.x} if public.y is None else {"x": public.x, "y": public.y}
    return json.dumps(alike.to_json(), sort_keys=True) + digest_of(arrays)
