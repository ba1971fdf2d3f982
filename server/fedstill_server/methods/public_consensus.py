"""What methods of the public set share: devices answer with soft labels of public rows, and distil from what
comes of them.

In a round, all devices answer the same rows. Their votes are weighed (weighting.py) and summed; `aggregate`
makes soft labels of the mean, which stand until the row is answered again. A device keeps its own student,
whatever its family, and each of its steps takes private examples with their labels and public ones with the
consensus:

    loss = (1 - soft_weight) CE(private) + soft_weight T^2 KL(consensus || softmax(z/T)) of public rows

Every term is at least 0. Before the first answers the consensus is the teacher's view of the public set, if
it has learned the public labels, and nothing otherwise. Teacher and starting students learn it, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from fedstill_proto.arrays import Float64Array, FloatArray, IntArray
from fedstill_proto.messages import (
    PublicSoftLabels,
    RoundTask,
    RowSelection,
    SoftLabelSummary,
    SummaryKind,
    SummaryRequest,
)
from fedstill_proto.soft_labels.codec import SoftLabelCodec
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels

from fedstill_server.config.codec import ConfigError
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.config.options import option
from fedstill_server.consensus.aggregation import VoteSums
from fedstill_server.consensus.folds import FOLDS, AnswerKind
from fedstill_server.consensus.weighting import AGREEMENT, COUNTING, WEIGHTINGS, Vote, softened, weighed
from fedstill_server.methods.folded import AUTO, Folded, fold_option
from fedstill_server.methods.interface import SoftLabelUse
from fedstill_server.methods.public_schedule import answered_rows, taught_rows
from fedstill_server.state import FleetState

CONSENSUS, KNOWN = "public_consensus", "public_known"


class PublicConsensus(Folded):
    soft_labels = SoftLabelUse.PUBLIC_ROWS
    answer_kind = AnswerKind.SOFT_LABELS
    # Whether votes are summed as they are, or as softmax(z), before the temperature softened them.
    sums_unsoftened: ClassVar[bool] = False
    fold: str = fold_option("mean, trust, nearest, trimmed or median, of soft labels")
    weighting: tuple[str, ...] = option(
        (), "How soft labels of public examples are weighed, in this order.", choices=WEIGHTINGS
    )

    def start(self, state: FleetState) -> FleetState:
        """The teacher's soft labels, if there is anything that it has learned."""
        rows = len(self.public)
        taught = self.config.teacher.trained or (self.public.y is not None and self.config.use_public_labels)
        consensus = np.zeros((rows, self.config.classes), np.float32)
        if taught:
            consensus = self.teacher_says(state, self.public.x, temperature=self._summed_temperature)
        return state.replace(arrays={CONSENSUS: consensus, KNOWN: np.full(rows, taught, np.uint8)})

    def task(self, state: FleetState, *, round_number: int, family: str, newcomer: bool) -> RoundTask:
        return self.asking(
            round_number=round_number,
            family=family,
            request=self.request(state, round_number),
            parameters=state.students[family] if newcomer else {},
            soft_targets=self.targets(state, round_number),
        )

    def request(self, state: FleetState, round_number: int) -> SummaryRequest:
        rows = self.asked_rows(state, round_number)
        if len(rows) == 0:
            return SummaryRequest(SummaryKind.NONE)
        counted = any(name in COUNTING for name in self.weighting)
        return SummaryRequest(SummaryKind.PUBLIC_SET, self.codec, rows, counted, self.selection)

    @property
    def codec(self) -> SoftLabelCodec:
        """The codec of the devices' answers."""
        return self.config.uplink

    @property
    def selection(self) -> RowSelection | None:
        """Which of the asked rows a device is to leave out."""
        return None

    def asked_rows(self, state: FleetState, round_number: int) -> IntArray:
        """The public rows that all devices answer, increasing."""
        return answered_rows(self.config, len(self.public), round_number)

    def targets(self, state: FleetState, round_number: int) -> PublicSoftLabels | None:
        """The consensus as a task carries it: of the rows that have one."""
        known = np.flatnonzero(state.arrays[KNOWN])
        here = taught_rows(self.config, len(self.public), round_number)
        rows = np.intersect1d(known, here).astype(np.int64)
        if len(rows) == 0:
            return None
        return PublicSoftLabels(rows, DenseSoftLabels(self.taught(state)[rows]))

    def taught(self, state: FleetState) -> FloatArray:
        """The soft labels [P, classes] that everybody learns, at the plan's temperature."""
        consensus = state.arrays[CONSENSUS].astype(np.float64)
        again = self.training.temperature / self._summed_temperature
        return softened(consensus, again).astype(np.float32)

    @property
    def compares(self) -> bool:
        return False  # soft labels are bounded as they are

    def check(self, config: FleetConfig) -> None:
        super().check(config)
        if self.fold != AUTO and self.weighting and FOLDS.load(self.fold).buffers:
            raise ConfigError(
                f"method.weighting: {','.join(self.weighting)!r} is not none, as fold {self.fold!r} needs "
                "it, in which each device counts once"
            )

    def auto_fold(self) -> str:
        return "trust" if self.known_labels is not None else "mean"

    def before(self, state: FleetState) -> Float64Array:
        """The consensus as votes are summed; a uniform soft label where there is none."""
        known = state.arrays[KNOWN][:, None] > 0
        return np.where(known, state.arrays[CONSENSUS].astype(np.float64), 1 / self.config.classes)

    def zero(self, *, round_number: int) -> Any:
        return VoteSums.zero(len(self.public), self.config.classes)

    def contribution(self, state: FleetState, *, round_number: int) -> Callable[[SoftLabelSummary], Any]:
        asked, temperature = self.asked_rows(state, round_number), self.training.temperature
        weighting, public = self.weighting, len(self.public)

        def sums(summary: SoftLabelSummary) -> VoteSums:
            statistics = summary.statistics
            if statistics.soft_labels is None:  # nothing was asked
                return replace(VoteSums.zero(public, self.config.classes), devices=1)
            vote = Vote.of(statistics, classes=self.config.classes, temperature=temperature)
            vote = weighed(self.read(vote), weighting)
            rows = asked if statistics.answered is None else asked[statistics.answered]
            return VoteSums.at_places(vote.probabilities, vote.weights, rows, of=public)

        return sums

    def read(self, vote: Vote) -> Vote:
        """The vote as it is to be summed."""
        if not self.sums_unsoftened:
            return vote
        return replace(
            vote, probabilities=softened(vote.probabilities, 1 / vote.temperature), temperature=1.0
        )

    def aggregate(self, mean: Float64Array) -> Float64Array:
        """Soft labels [n, classes] of the rows whose weighted mean this is."""
        return mean

    def learn(self, state: FleetState, consensus: Any, *, round_number: int) -> FleetState:
        """Remember what the devices said; teacher and starting students learn it."""
        state = self.remember(state, consensus, round_number=round_number)
        return self.learn_taught(state, round_number=round_number)

    def learn_taught(self, state: FleetState, *, round_number: int) -> FleetState:
        """Teacher and starting students learn what is taught of the rows that are known."""
        rows = np.flatnonzero(state.arrays[KNOWN])
        if len(rows) == 0:
            return state
        return self.all_learn(state, self.public.x[rows], self.taught(state)[rows], round_number=round_number)

    def remember(self, state: FleetState, sums: VoteSums, *, round_number: int) -> FleetState:
        """The new soft labels of the rows that somebody answered."""
        rows = np.flatnonzero(sums.votes)
        new = self.aggregate(sums.mean()[rows])
        consensus, known = state.arrays[CONSENSUS].copy(), state.arrays[KNOWN].copy()
        if AGREEMENT in self.weighting:
            step = np.where(known[rows] > 0, sums.agreement()[rows], 1)[:, None]
            new = step * new + (1 - step) * consensus[rows]
        consensus[rows] = new.astype(np.float32)
        known[rows] = 1
        return state.replace(arrays={**state.arrays, CONSENSUS: consensus, KNOWN: known})

    @property
    def _summed_temperature(self) -> float:
        return 1.0 if self.sums_unsoftened else self.training.temperature
