"""fedstill, unless devices themselves say that weights do better: then federated averaging in 8 bits.

Soft labels of few public examples, of another domain say, can hold less than devices have to tell each other;
weights then do better, at many times the bytes. The fleet finds out: in the first rounds the two methods take
turns, fedstill first. Each has students of its own: a fedstill round starts from the soft labels, a fedavg
round from the average that it sends. After the last round of each (2 trials - 1, and 2 trials), the devices
count what they get right of their own held-out examples, as an app would be answered. With d_i how much more
device i then gets right with fedavg, of the n devices that counted twice, the run goes on with fedavg where

    mean d >= least_gain    and    mean d - 1.96 sd(d) / sqrt(n) > 0    and    n >= 5

and with fedstill otherwise, for good. A fleet that cannot average goes on with fedstill alone, and says why.
Its devices' owners have to allow weights. In a round of fedavg a device makes its owner's student of the
average that it is given, so that both are measured as an app would be answered, and nothing is sent for that.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from fedstill_proto.arrays import Parameters
from fedstill_proto.messages import RoundTask, SummaryRequest
from fedstill_proto.package.target import TargetKind

from fedstill_server.config.options import option
from fedstill_server.methods.fedavg import FedAvg
from fedstill_server.methods.fedstill import Fedstill
from fedstill_server.methods.interface import Method
from fedstill_server.state import Arrays, FleetState
from fedstill_server.tasks import task_of

_STUDENTS = "auto/students/"  # <family>/<parameter>: those that are averaged, during the trials
_DEVICES, _ACCURACIES = "auto/devices", "auto/accuracies"  # [n], after fedstill's last trial round
_VERDICT = "auto/verdict"  # [4]: of fedavg and of fedstill the mean accuracy, the least gain, devices
_FEWEST_DEVICES, _SURE = 5, 1.96
_PERSONAL_EPOCHS = 20  # in which a device makes its owner's student of the average, as fedavg-ft does


class Auto(Fedstill):
    line = "fedstill, or fedavg in 8 bits where devices, measured in four rounds, do better with it"
    target_kinds = (TargetKind.SINGLE_LABEL,)

    trials: int = option(2, "Rounds that each of the two gets before one is chosen.", least=1, most=2)
    least_gain: float = option(
        0.01,
        "How many more of their own examples devices must get right with weights, as a share, to be worth "
        "the bytes.",
        least=0,
        most=1,
    )

    @property
    def alone(self) -> str:
        """Why fedstill is the only one that can be; empty where fedavg can be tried."""
        config = self.config
        if len(config.families) > 1:
            return f"students of {len(config.families)} families cannot be averaged with each other"
        if not task_of(config).form.amounts:
            return f"in a fleet of {config.task.name} weights are not tried"
        if config.privacy is not None or config.secure_sums is not None:
            return "what the server may see of an answer leaves no counts to choose by"
        if config.mode != "rounds":
            return f"in mode {config.mode} rounds do not take turns"
        if config.own_rounds <= 2 * self.trials:
            return f"{config.own_rounds} rounds are too few to try both"
        return ""

    @functools.cached_property
    def _averaging(self) -> _Averaging:
        return _Averaging(weights="8bit", personal_epochs=_PERSONAL_EPOCHS).bind(self.config, self.public)

    def of_round(self, state: FleetState, *, round_number: int) -> Method:
        if self.alone:
            return self
        if _VERDICT in state.arrays:
            return self._averaging if self._prefers_weights(state.arrays[_VERDICT]) else self
        return self if self._trial(round_number) % 2 else self._averaging

    def start(self, state: FleetState) -> FleetState:
        started = super().start(state)
        return started if self.alone else _with_students(started, state.students)

    def task(self, state: FleetState, *, round_number: int, family: str, newcomer: bool) -> RoundTask:
        turn = self.of_round(state, round_number=round_number)
        make = super().task if turn is self else turn.task
        return make(state, round_number=round_number, family=family, newcomer=newcomer)

    def evaluation(self, state: FleetState, *, round_number: int, family: str, newcomer: bool) -> RoundTask:
        turn = self.of_round(state, round_number=round_number)
        make = super().evaluation if turn is self else turn.evaluation
        return make(state, round_number=round_number, family=family, newcomer=newcomer)

    def learn(self, state: FleetState, consensus: Any, *, round_number: int) -> FleetState:
        """The shifts of a round of fedstill; what else the state remembers stays."""
        learned = super().learn(state, consensus, round_number=round_number)
        return learned.replace(arrays={**state.arrays, **learned.arrays})

    def compares_after(self, round_number: int) -> bool:
        return not self.alone and self._trial(round_number) in (2 * self.trials - 1, 2 * self.trials)

    def measured(
        self, state: FleetState, accuracies: Mapping[str, float], *, round_number: int
    ) -> FleetState:
        """Remember what fedstill's students came to; choose once fedavg's have been measured, too."""
        if _VERDICT in state.arrays:  # of a generation before
            return state
        counts = {_number(device): accuracy for device, accuracy in accuracies.items()}
        if self._trial(round_number) == 2 * self.trials - 1:
            devices = np.array(sorted(counts), np.int64)
            came_to = np.array([counts[int(device)] for device in devices], np.float64)
            return state.replace(arrays={**state.arrays, _DEVICES: devices, _ACCURACIES: came_to})
        arrays = {name: array for name, array in state.arrays.items() if not name.startswith("auto/")}
        before = dict(zip(state.arrays[_DEVICES].tolist(), state.arrays[_ACCURACIES].tolist(), strict=True))
        both = sorted(before.keys() & counts.keys())
        verdict = verdict_of([counts[one] for one in both], [before[one] for one in both])
        students = averaged_students(state) if self._prefers_weights(verdict) else state.students
        return state.replace(arrays={**arrays, _VERDICT: verdict}, students=students)

    def notice(self, state: FleetState, *, round_number: int) -> str:
        """What was chosen, and why; or, after the first round, why there is no choice."""
        if self.alone:
            return f"auto goes on with fedstill alone: {self.alone}" if self._trial(round_number) == 1 else ""
        if self._trial(round_number) != 2 * self.trials:
            return ""
        verdict = state.arrays[_VERDICT]
        weights, labels, low, devices = verdict.tolist()
        heard = (
            f"after {round_number} rounds, fedavg in 8 bits answers {100 * weights:.1f} % of devices' own "
            f"examples and fedstill {100 * labels:.1f} %, on {devices:.0f} devices that counted both"
        )
        if self._prefers_weights(verdict):
            return f"{heard}; going on with fedavg in 8 bits"
        if weights - labels < self.least_gain:
            return f"{heard}; going on with fedstill"
        return f"{heard}, too few to be sure (at least {100 * low:+.1f} points); going on with fedstill"

    def _trial(self, round_number: int) -> int:
        """The round's number in its generation, from 1."""
        return round_number - self.config.begins_after

    def _prefers_weights(self, verdict: Any) -> bool:
        weights, labels, low, devices = verdict.tolist()
        return bool(devices >= _FEWEST_DEVICES and weights - labels >= self.least_gain and low > 0)


class _Averaging(FedAvg):
    """fedavg of the students that the trials keep apart, and of the fleet's own once it was chosen."""

    def given(self, state: FleetState, family: str) -> Parameters:
        return super().given(_averaged(state), family)

    def _giving(self, state: FleetState, request: SummaryRequest, **how: Any) -> RoundTask:
        return super()._giving(_averaged(state), request, **how)

    def learn(self, state: FleetState, consensus: Any, *, round_number: int) -> FleetState:
        learned = super().learn(_averaged(state), consensus, round_number=round_number).students
        if _VERDICT in state.arrays:
            return state.replace(students=learned)
        return _with_students(state, learned)


def verdict_of(weights: list[float], labels: list[float]) -> Any:
    """The mean accuracy with each over the same devices, the least that their difference is, and how many.

    The least is the lower end of a 95 % interval; nobody knows it of fewer than two devices.
    """
    devices = len(weights)
    if devices == 0:
        return np.array([0.0, 0.0, -1.0, 0.0])
    gains = np.array(weights) - np.array(labels)
    half = _SURE * float(gains.std(ddof=1)) / devices**0.5 if devices > 1 else 2.0
    return np.array([np.mean(weights), np.mean(labels), gains.mean() - half, devices])


def averaged_students(state: FleetState) -> dict[str, Parameters]:
    """The students that fedavg's rounds average, by family."""
    students: dict[str, Parameters] = {}
    for name, array in state.arrays.items():
        if name.startswith(_STUDENTS):
            family, _, parameter = name.removeprefix(_STUDENTS).partition("/")
            students.setdefault(family, {})[parameter] = array
    return students or dict(state.students)


def _averaged(state: FleetState) -> FleetState:
    return state.replace(students=averaged_students(state))


def _with_students(state: FleetState, students: Mapping[str, Parameters]) -> FleetState:
    kept: Arrays = {
        f"{_STUDENTS}{family}/{name}": array
        for family, student in students.items()
        for name, array in student.items()
    }
    return state.replace(arrays={**state.arrays, **kept})


def _number(device: str) -> int:
    """A number for a device's name, which a state's arrays can hold."""
    return int.from_bytes(hashlib.sha256(device.encode()).digest()[:7], "big")
