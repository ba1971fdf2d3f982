"""Federated distillation by class means (Jeong et al. 2018, arXiv 1811.11479).

A device answers with its mean soft label of each class it has, and with the examples behind it. The
consensus of a class is the mean over the devices that have it:

    m_c = mean_i m_ic

The paper weighs by the examples n_ic. Nothing checks what a device says of those, and one that says 2^32-1
would decide for all: each counts once. So far as m_ic speaks for other classes it is not believed
(consensus/folds/own_class.py).

Every device distils from m_c where its label is c. The paper's soft term is a cross-entropy between logits,
which is unbounded below; here it is T^2 KL(m_c || softmax(z/T)), which is at least 0.
A class that no device answered for keeps its last consensus.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import numpy as np
from fedstill_proto.arrays import Float64Array, FloatArray, IntArray
from fedstill_proto.messages import ClassSoftLabels, RoundTask, SoftLabelSummary, SummaryKind, SummaryRequest
from fedstill_proto.privacy.vectors import class_vector
from fedstill_proto.readers.classes import UNLABELLED
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels

from fedstill_server.consensus.aggregation import RowSums
from fedstill_server.consensus.folds import AnswerKind
from fedstill_server.consensus.noised_mean import ALL_FAMILIES, NoisedMean
from fedstill_server.consensus.row_stack import Parts, RowStack
from fedstill_server.methods.folded import Folded, fold_option
from fedstill_server.methods.interface import SoftLabelUse
from fedstill_server.state import FleetState

MEANS, KNOWN = "class_means", "class_known"
# Of a noised sum: a class is known where the devices that have it are so many deviations of the noise.
_HIDDEN = 4.0


class ClassLogits(Folded):
    answer_kind = AnswerKind.CLASS_MEANS
    default_clip: ClassVar[float | None] = 2.0
    fold: str = fold_option("own-class, median, trimmed or mean, of each class")
    line = "mean soft label of each class (Jeong et al. 2018, arXiv 1811.11479)"
    soft_labels = SoftLabelUse.PRIVATE_ROWS
    answers = SummaryKind.CLASS_MEANS

    def start(self, state: FleetState) -> FleetState:
        """The teacher's class means of the public set, if it is labelled; otherwise nothing is known yet."""
        classes = self.config.classes
        sums = RowSums.zero(classes, classes)
        if self.labels is not None:
            np.add.at(sums.totals, self.labels, self.teacher_says(state, self.public.x))
            np.add.at(sums.weights, self.labels, 1)
        return self._remember(state, sums)

    def task(self, state: FleetState, *, round_number: int, family: str, newcomer: bool) -> RoundTask:
        return self.asking(
            round_number=round_number,
            family=family,
            request=SummaryRequest(SummaryKind.CLASS_MEANS, self.config.uplink),
            parameters=state.students[family] if newcomer else {},
            soft_targets=self._targets(state),
        )

    def auto_fold(self) -> str:
        return "own-class"

    def before(self, state: FleetState) -> Float64Array:
        """The classes' consensus; a uniform soft label where there is none."""
        known = state.arrays[KNOWN][:, None] > 0
        return np.where(known, state.arrays[MEANS].astype(np.float64), 1 / self.config.classes)

    def zero(self, *, round_number: int) -> RowSums:
        return RowSums.zero(self.config.classes, self.config.classes)

    def contribution(self, state: FleetState, *, round_number: int) -> Callable[[SoftLabelSummary], RowSums]:
        return lambda summary: RowSums.of_class_means(summary.statistics, classes=self.config.classes)

    def stacked_contribution(
        self, state: FleetState, *, round_number: int
    ) -> Callable[[Sequence[SoftLabelSummary]], Parts]:
        classes = self.config.classes

        def means(summaries: Sequence[SoftLabelSummary]) -> Parts:
            values = np.zeros((len(summaries), classes, classes))
            answered = np.zeros((len(summaries), classes), np.bool_)
            for place, summary in enumerate(summaries):
                statistics = summary.statistics
                assert statistics.soft_labels is not None  # the gate lets no other class means through
                values[place, statistics.present_classes] = statistics.soft_labels.dense()
                answered[place, statistics.present_classes] = True
            return RowStack(values, np.arange(classes), classes, answered)

        return means

    def released_parts(self, state: FleetState, *, round_number: int) -> Mapping[str, int]:
        return {ALL_FAMILIES: self.config.classes * (self.config.classes + 1)}

    def released_vector(
        self, state: FleetState, *, round_number: int
    ) -> Callable[[SoftLabelSummary], Float64Array]:
        """For each class that a device has, its mean soft label less a uniform one, and a 1; 0 otherwise.

        The examples behind a class, which nothing bounds, do not count: every device counts once.
        """
        classes = self.config.classes

        def vector(summary: SoftLabelSummary) -> Float64Array:
            statistics = summary.statistics
            assert statistics.soft_labels is not None  # the gate lets no other class means through
            means = statistics.soft_labels.dense()
            return class_vector(means, statistics.present_classes, classes=classes)

        return vector

    def consensus_of(
        self, means: Mapping[str, NoisedMean], state: FleetState, *, round_number: int
    ) -> RowSums:
        """Means over the devices that have a class; of classes that the noise hides, nothing."""
        classes = self.config.classes
        sums = RowSums.zero(classes, classes)
        if ALL_FAMILIES not in means:
            return sums
        mean = means[ALL_FAMILIES]
        rows = mean.vector.reshape(classes, classes + 1)
        known = rows[:, -1] > _HIDDEN * mean.noise
        with_class = np.where(known, rows[:, -1], 1)[:, None]
        labels = np.maximum(rows[:, :-1] / with_class + 1 / classes, 0)
        labels /= labels.sum(axis=1, keepdims=True)
        weights = np.where(known, mean.devices * rows[:, -1], 0)
        return RowSums(labels * weights[:, None], weights, mean.devices)

    def learn(self, state: FleetState, consensus: RowSums, *, round_number: int) -> FleetState:
        """Remember the consensus; teacher and starting students learn it on the labelled public set."""
        state = self._remember(state, consensus)
        if self.labels is None:
            return state
        mixed = self._mixed_labels(state, self.labels)
        return self.all_learn(state, self.public.x, mixed, round_number=round_number)

    @property
    def labels(self) -> IntArray | None:
        """The public set's labels, if they may be used."""
        return self.public.y if self.config.use_public_labels else None

    def _remember(self, state: FleetState, sums: RowSums) -> FleetState:
        classes = self.config.classes
        means = state.arrays.get(MEANS, np.zeros((classes, classes), np.float32))
        known = state.arrays.get(KNOWN, np.zeros(classes, np.uint8))
        answered = sums.weights > 0
        means = np.where(answered[:, None], sums.result(), means).astype(np.float32)
        return state.replace(arrays={MEANS: means, KNOWN: (known.astype(bool) | answered).astype(np.uint8)})

    def _targets(self, state: FleetState) -> ClassSoftLabels | None:
        present = np.flatnonzero(state.arrays[KNOWN])
        if len(present) == 0:
            return None
        return ClassSoftLabels(present.astype(np.int64), DenseSoftLabels(state.arrays[MEANS][present]))

    def _mixed_labels(self, state: FleetState, labels: IntArray) -> FloatArray:
        """Soft labels of the public rows [P, classes]: what a device's loss would pull its student towards.

        The class's consensus with soft_weight, the teacher's own view of the row with the rest.
        """
        weight = self.training.soft_weight * state.arrays[KNOWN][labels].astype(np.float32)
        weight[labels == UNLABELLED] = 0.0
        own = self.teacher_says(state, self.public.x)
        mixed = weight[:, None] * state.arrays[MEANS][labels] + (1 - weight[:, None]) * own
        return mixed.astype(np.float32)
