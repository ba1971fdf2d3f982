"""SCAFFOLD (Karimireddy et al. 2020, arXiv 1910.06378): FedAvg, whose steps control variates correct.

The fleet has a student x and a control variate c for each family, a device its own c_i, and takes its steps
along g_i - c_i + c: what its own data say, without what is always so of them, and with what is so of all. It
sends its student y_i and how far c_i moved (option II; the client's control_variates.py), and

    x <- x + mean_i (y_i - x),    c <- c + |S| / N mean_i (c_i+ - c_i)

over the devices S that answered, of N. The server's rate is 1, as in the paper's experiments; a task brings x
and c, an answer y_i and the change of c_i: twice FedAvg's bytes, both ways. Each device counts once, and
neither moves further than is common in the round. A device that starts afresh in the middle of a run has
c_i = 0 again, which the mean does not hear of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import numpy as np
from fedstill_proto.arrays import Parameters
from fedstill_proto.messages import Optimizer, PrivateStatistics, RoundTask, SoftLabelSummary

from fedstill_server.config.codec import ConfigError
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.consensus.aggregation import FamilySums
from fedstill_server.data.forms import Labels
from fedstill_server.methods.fedavg import FedAvg
from fedstill_server.state import FleetState

_CONTROL = "control/"  # and a family's name: the group of its control variates


class Scaffold(FedAvg):
    line = "fedavg with control variates (SCAFFOLD: Karimireddy et al. 2020, arXiv 1910.06378)"
    label_places = (Labels.ONE,)
    default_clip: ClassVar[float | None] = None  # a control variate has no clip of its own

    def check(self, config: FleetConfig) -> None:
        super().check(config)
        if config.training.optimizer is Optimizer.ADAMW:
            raise ConfigError("training.optimizer: 'adamw' is not sgd or momentum, whose steps sum gradients")
        if config.mode == "async":
            raise ConfigError("mode: 'async' is not rounds, in which control variates are of one round")
        if config.cohort.goal_count:
            raise ConfigError(
                f"cohort.goal_count: {config.cohort.goal_count!r} is not 0: control variates need the share "
                "of devices that a round asks (fraction)"
            )

    def start(self, state: FleetState) -> FleetState:
        """All control variates are 0."""
        zeros = {
            f"{_CONTROL}{family}/{name}": np.zeros_like(array)
            for family, student in state.students.items()
            for name, array in student.items()
        }
        return super().start(state).replace(arrays=zeros)

    @property
    def goes_on(self) -> bool:
        return True  # with the device's control variates

    def task(self, state: FleetState, *, round_number: int, family: str, newcomer: bool) -> RoundTask:
        task = super().task(state, round_number=round_number, family=family, newcomer=newcomer)
        return replace(task, control_variates=_of_family(state, family))

    def contribution(
        self, state: FleetState, *, round_number: int
    ) -> Callable[[SoftLabelSummary], FamilySums]:
        """A family's control variates are a group of their own, whose members the fold compares."""
        students = super().contribution(state, round_number=round_number)

        def sums(summary: SoftLabelSummary) -> FamilySums:
            moved: FamilySums = students(summary)
            said = summary.statistics
            control = PrivateStatistics(parameters=said.control_variates, examples=said.examples)
            group = FamilySums.of(f"{_CONTROL}{summary.family}", control)
            return replace(moved, families={**moved.families, **group.families})

        return sums

    def learn(self, state: FleetState, consensus: FamilySums, *, round_number: int) -> FleetState:
        parts = consensus.families
        students = {name: part for name, part in parts.items() if not name.startswith(_CONTROL)}
        state = super().learn(state, replace(consensus, families=students), round_number=round_number)
        share, arrays = np.float32(self.config.cohort.fraction or 1.0), dict(state.arrays)
        for group, mean in consensus.result().items():
            if group.startswith(_CONTROL):
                arrays |= {f"{group}/{n}": arrays[f"{group}/{n}"] + share * step for n, step in mean.items()}
        return state.replace(arrays=arrays)


def _of_family(state: FleetState, family: str) -> Parameters:
    return {name: state.arrays[f"{_CONTROL}{family}/{name}"] for name in state.students[family]}
