"""Federated averaging (McMahan et al. 2017, arXiv 1602.05629): the baseline that sends whole students.

A family's next student is the mean w of those of its devices. The paper weighs by their private examples;
nothing checks what a device says of those, and one that says 2^32-1 would decide for all: each counts once,
and none moves further than is common in its round (consensus/folds/clipping.py). Devices install it each
round, and are measured with it. Families cannot be averaged with each other.

What is summed is how far each student has moved from the one that its device was given, and the mean is added
to the student that the server has. In rounds that is the same; in mode async, where a device may have been
given an older one, it is FedBuff's update (Nguyen et al. 2022, arXiv 2106.06639), smaller as a whole where
the answers are old.

With `weights` of few bits, devices are given the rounded student, and what each moved from there comes back
rounded, too (fedstill_proto.codec.tensors). The server goes on with all digits of its own.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from fedstill_proto.arrays import Float64Array, Parameters
from fedstill_proto.codec.tensors import rounded
from fedstill_proto.messages import (
    FLOAT_WEIGHTS,
    PersonalPlan,
    RoundTask,
    SoftLabelSummary,
    SummaryKind,
    SummaryRequest,
)
from fedstill_proto.package.target import TargetKind
from fedstill_proto.privacy.vectors import moved_vector, shaped_like

from fedstill_server.config.codec import ConfigError
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.config.options import option
from fedstill_server.consensus.aggregation import FamilySums, ParameterSum
from fedstill_server.consensus.folds import AnswerKind
from fedstill_server.consensus.folds.clipping import clipped_students
from fedstill_server.consensus.folds.norms import Norms
from fedstill_server.consensus.noised_mean import NoisedMean
from fedstill_server.data.forms import Labels
from fedstill_server.methods.folded import Folded, fold_option
from fedstill_server.methods.interface import TASK, SoftLabelUse
from fedstill_server.state import FleetState


def weights_option() -> Any:
    """`start_from` of methods whose tasks bring weights by nature."""
    return option(
        TASK, "Where students are from: what is averaged comes as weights, with every task.", choices=(TASK,)
    )


_WEIGHT_BITS = {"float32": FLOAT_WEIGHTS, "8bit": 8, "4bit": 4}


class FedAvg(Folded):
    line = "average of whole students, within a family (McMahan et al. 2017, arXiv 1602.05629)"
    label_places: ClassVar[tuple[Labels, ...]] = (Labels.ONE, Labels.EACH_PLACE)
    target_kinds = tuple(TargetKind)
    answers = SummaryKind.PARAMETERS
    answer_kind: ClassVar[AnswerKind] = AnswerKind.STUDENTS
    default_clip: ClassVar[float | None] = 4.0
    keeps_parts: ClassVar[bool] = False  # whether some parameters stay on the devices
    start_from: str = weights_option()

    fold: str = fold_option("clipped, median, trimmed or mean, of students")
    weights: str = option(
        "8bit",
        "How students travel, both ways: float32, or rounded to 8bit or 4bit in blocks with a scale.",
        choices=tuple(_WEIGHT_BITS),
    )
    personal_epochs: int = option(
        0,
        "Passes over its own examples in which a device makes its owner's student of a round's average; 0 "
        "answers with the average.",
        least=0,
        most=1_000_000,
    )
    personal_soft_weight: float = option(
        0.5,
        "Weight, in that, of what the average itself says of public examples, so that it is not forgotten.",
        least=0,
        most=1,
    )

    @property
    def graph_labels(self) -> SoftLabelUse:
        keeps = self.personal_epochs > 0 and self.personal_soft_weight > 0
        return SoftLabelUse.PUBLIC_ROWS if keeps else self.soft_labels

    @property
    def weight_bits(self) -> int:
        """Bits of a weight on the wire; FLOAT_WEIGHTS is float32."""
        return _WEIGHT_BITS[self.weights]

    @property
    def knows_owner(self) -> bool:
        return self.personal_epochs > 0

    @property
    def personal_plan(self) -> PersonalPlan | None:
        """How devices make their owners' students; None where they answer with the average."""
        if not self.personal_epochs:
            return None
        rate = self.config.training.learning_rate
        return PersonalPlan(
            epochs=self.personal_epochs, learning_rate=rate, soft_weight=self.personal_soft_weight
        )

    def check(self, config: FleetConfig) -> None:
        super().check(config)
        if self.keeps_parts and self.personal_epochs and self.personal_soft_weight:
            raise ConfigError(
                f"method.personal_soft_weight: {self.personal_soft_weight:g} is not 0, as a method needs it "
                "whose devices start from averages of their own"
            )

    @property
    def goes_on(self) -> bool:
        """Not unless parts of students stay on the devices."""
        return self.keeps_parts

    def local_parameters(self, family: str, student: Parameters) -> tuple[str, ...]:
        """The names of those of a family's student that stay on the devices, neither sent nor averaged."""
        return ()

    def given(self, state: FleetState, family: str) -> Parameters:
        """What devices of a family are given of its student, as it arrives."""
        return rounded(self._averaged(state, family), bits=self.weight_bits)

    def _averaged(self, state: FleetState, family: str) -> Parameters:
        student = state.students[family]
        local = self.local_parameters(family, student)
        return {name: array for name, array in student.items() if name not in local}

    def task(self, state: FleetState, *, round_number: int, family: str, newcomer: bool) -> RoundTask:
        request = SummaryRequest(SummaryKind.PARAMETERS)
        task = self._giving(state, request, round_number=round_number, family=family, newcomer=newcomer)
        return dataclasses.replace(task, personal=self.personal_plan)

    def evaluation(self, state: FleetState, *, round_number: int, family: str, newcomer: bool) -> RoundTask:
        """The averaged student, on every device; or what each has made of it for its owner."""
        request = SummaryRequest(SummaryKind.NONE)
        if self.personal_plan is not None and not newcomer:
            return self.asking(round_number=round_number, family=family, request=request, parameters={})
        return self._giving(state, request, round_number=round_number, family=family, newcomer=newcomer)

    def _giving(
        self, state: FleetState, request: SummaryRequest, *, round_number: int, family: str, newcomer: bool
    ) -> RoundTask:
        student = state.students[family]
        task = self.asking(
            round_number=round_number,
            family=family,
            request=request,
            parameters=rounded(student, bits=self.weight_bits) if newcomer else self.given(state, family),
            replace_student=True,
        )
        local = self.local_parameters(family, student)
        training = dataclasses.replace(task.training, local_parameters=local)
        return dataclasses.replace(task, weight_bits=self.weight_bits, training=training)

    def zero(self, *, round_number: int) -> Any:
        return FamilySums()

    def norms(self, part: Any) -> Norms:
        return Norms.of_students(part)

    def clipped(self, part: Any, norms: Norms) -> Any:
        return clipped_students(part, norms)

    def contribution(self, state: FleetState, *, round_number: int) -> Callable[[SoftLabelSummary], Any]:
        given = functools.cache(functools.partial(self.given, state))
        return lambda summary: FamilySums.of(summary.family, summary.statistics, given=given(summary.family))

    def released_parts(self, state: FleetState, *, round_number: int) -> Mapping[str, int]:
        averaged = {family: self._averaged(state, family) for family in state.students}
        return {family: sum(array.size for array in one.values()) for family, one in averaged.items()}

    def released_vector(
        self, state: FleetState, *, round_number: int
    ) -> Callable[[SoftLabelSummary], Float64Array]:
        """How far the student moved; every device counts once, whatever its examples."""
        given = functools.cache(functools.partial(self.given, state))
        return lambda summary: moved_vector(summary.statistics.parameters, given(summary.family))

    def consensus_of(
        self, means: Mapping[str, NoisedMean], state: FleetState, *, round_number: int
    ) -> FamilySums:
        families, devices = {}, 0
        for family, mean in means.items():
            steps = shaped_like(self._averaged(state, family), mean.vector)
            families[family] = ParameterSum(steps, 1.0)
            devices += mean.devices
        return FamilySums(families, devices)

    def learn(self, state: FleetState, consensus: Any, *, round_number: int) -> FleetState:
        students = dict(state.students)
        for family, steps in consensus.result().items():
            fresh, before = np.float32(consensus.freshness), students[family]
            moved = {name: before[name] + fresh * step for name, step in steps.items()}
            students[family] = {**before, **moved}
        return state.replace(students=students)
