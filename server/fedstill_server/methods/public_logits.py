"""Federated distillation over the public set (FedMD: Li and Wang 2019, arXiv 1910.03581; DS-FL: Itahara et
al. 2020, arXiv 2008.06180; FedDF: Lin et al. 2020, arXiv 2006.07242).

The server keeps one soft label for each public example, as centred logits z. In a round, all devices start
from their family's student s, learn from their private labels and from softmax(z), and answer with their
soft labels p_i of a batch of public rows. The consensus is the mean *shift* of the devices' logits away from
the student that they were given, and the server takes a step along it:

    shift = mean_i (log p_i - log p_s), less its mean over the classes and over the rows
    z <- z + server_rate * K(all, batch) (K(batch, batch) + I)^-1 shift

FedMD's mean of logits is a server_rate of 1 without the kernel K and the mean over the rows. What differs:

- A rate above 1 is the server's learning rate of Reddi et al. 2020 (arXiv 2003.00295), taken in the space of
  soft labels: on skewed data only few devices know an example's class, the others do not move there, and a
  plain mean would drown the few.
- The mean over the rows says how often devices see a class: the skew of their own labels, not knowledge of
  the examples (compare logit adjustment, Menon et al. 2020, arXiv 2007.07314).
- Only a batch of rows is answered in a round. A Gaussian kernel carries shifts to the rows nearby: the mean
  of a Gaussian process with unit noise (Rasmussen and Williams 2006, eq. 2.25).

Teacher and students then learn z. `sharpen` below 1 is DS-FL's entropy reduction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import Float64Array, FloatArray, IntArray
from fedstill_proto.messages import (
    PublicSoftLabels,
    RoundTask,
    SoftLabelSummary,
    SummaryKind,
    SummaryRequest,
)
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels

from fedstill_server.consensus.aggregation import RowSums
from fedstill_server.consensus.noised_mean import ALL_FAMILIES, NoisedMean
from fedstill_server.data.public_schedule import answered_rows, taught_rows
from fedstill_server.methods.interface import ServerSide, SoftLabelUse
from fedstill_server.methods.noised_shift import way_through_noise
from fedstill_server.methods.row_kernel import kernel_of
from fedstill_server.rounds.teacher import build_family, build_teacher, student_learns, teacher_learns
from fedstill_server.state import FleetState
from fedstill_server.training.networks import soft_labels_of

LOGITS = "public_logits"


class PublicLogits(ServerSide):
    line = "mean shift of the soft labels of public examples, and a server step (after FedMD, DS-FL)"
    soft_labels = SoftLabelUse.PUBLIC_ROWS
    usual_clip: ClassVar[float | None] = 10.0

    def start(self, state: FleetState) -> FleetState:
        """The teacher's soft labels are the first consensus."""
        teacher = build_teacher(self.config, state.teacher)
        soft_labels = soft_labels_of(teacher, self.public.x, temperature=self.training.temperature)
        return state.replace(arrays={LOGITS: centred_logits(soft_labels, least=1e-6).astype(np.float32)})

    def task(self, state: FleetState, *, round_number: int, family: str, newcomer: bool) -> RoundTask:
        rows = taught_rows(self.config, len(self.public), round_number)
        answers = self.answered_rows(round_number)
        targets = PublicSoftLabels(rows, DenseSoftLabels(self._soft_labels(state)[rows]))
        return self.asking(
            round_number=round_number,
            family=family,
            request=SummaryRequest(SummaryKind.PUBLIC_SET, self.config.uplink, answers),
            parameters=state.students[family],
            replace_student=True,
            soft_targets=targets,
        )

    def zero(self, *, round_number: int) -> RowSums:
        return RowSums.zero(len(self.public), self.config.classes)

    def contribution(self, state: FleetState, *, round_number: int) -> Callable[[SoftLabelSummary], RowSums]:
        """The shift of a device's logits away from the student it was given."""
        rows = self.answered_rows(round_number)
        x = self.public.x[rows]
        start = {family: self._start_logits(state, family, x) for family in state.students}

        def shift(summary: SoftLabelSummary) -> RowSums:
            assert summary.statistics.soft_labels is not None  # the gate lets no other through
            logits = centred_logits(summary.statistics.soft_labels.dense(), least=self.config.uplink.least)
            return RowSums.at_places(logits - start[summary.family], rows, of=len(self.public))

        return shift

    def learn(self, state: FleetState, consensus: RowSums, *, round_number: int) -> FleetState:
        """Step along the mean shift; teacher and starting students learn the new soft labels."""
        way, share = self.way_of(consensus)
        logits = state.arrays[LOGITS] + self.config.server_rate * share * consensus.freshness * way
        state = state.replace(arrays={LOGITS: logits.astype(np.float32)})
        x, soft_labels = self.public.x, self._soft_labels(state)
        teacher = teacher_learns(self.config, state.teacher, x, soft_labels, round_number=round_number)
        students = {
            family: student_learns(self.config, family, student, x, soft_labels, round_number=round_number)
            for family, student in state.students.items()
        }
        return state.replace(teacher=teacher, students=students)

    def way_of(self, consensus: RowSums) -> tuple[Float64Array, float]:
        """The mean shift less its mean over the rows, carried to all [P, classes], and how far to trust it.

        The second is 1 where no noise was added.
        """
        rows, width = np.flatnonzero(consensus.weights), self.config.propagation_width
        shift = consensus.result()[rows]
        shift = shift - shift.mean(axis=0)
        if consensus.noise == 0:
            return propagated(shift, self.public.x, rows, width=width), 1.0
        way, share = way_through_noise(shift, self.public.x, rows, noise=consensus.noise, width=width)
        return way, float(np.sqrt(share))

    def released_parts(self, state: FleetState, *, round_number: int) -> Mapping[str, int]:
        return {ALL_FAMILIES: len(self.answered_rows(round_number)) * self.config.classes}

    def released_vector(
        self, state: FleetState, *, round_number: int
    ) -> Callable[[SoftLabelSummary], Float64Array]:
        """The shifts of the answered rows, one after the other."""
        contribution = self.contribution(state, round_number=round_number)
        rows = self.answered_rows(round_number)
        return lambda summary: contribution(summary).totals[rows].reshape(-1)

    def consensus_of(
        self, means: Mapping[str, NoisedMean], state: FleetState, *, round_number: int
    ) -> RowSums:
        if ALL_FAMILIES not in means:
            return self.zero(round_number=round_number)
        mean, rows = means[ALL_FAMILIES], self.answered_rows(round_number)
        cells = mean.vector.reshape(len(rows), self.config.classes)
        cells = cells - cells.mean(
            axis=1, keepdims=True
        )  # the noise has a mean over the classes; shifts have not
        sums = RowSums.at_places(cells, rows, of=len(self.public))
        return replace(sums, devices=mean.devices, noise=mean.noise)

    def answered_rows(self, round_number: int) -> IntArray:
        """The public rows that the devices answer in a round, increasing."""
        return answered_rows(self.config, len(self.public), round_number)

    def _soft_labels(self, state: FleetState) -> FloatArray:
        """softmax of the consensus [P, classes], sharpened."""
        logits = state.arrays[LOGITS] / np.float32(self.config.sharpen or 1)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        soft: FloatArray = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
        return soft

    def _start_logits(self, state: FleetState, family: str, x: FloatArray) -> Float64Array:
        """What a device that learned nothing would answer, coded like an answer: its shift is exactly 0."""
        student = build_family(self.config, family, state.students[family])
        soft_labels = soft_labels_of(student, x, temperature=self.training.temperature)
        return centred_logits(self.config.uplink.rounded(soft_labels).dense(), least=self.config.uplink.least)


def centred_logits(soft_labels: npt.NDArray[np.float32], *, least: float) -> Float64Array:
    """log p, less its mean over the classes; probabilities below `least` count as that."""
    logits = np.log(np.maximum(soft_labels.astype(np.float64), least))
    centred: Float64Array = logits - logits.mean(axis=-1, keepdims=True)
    return centred


def propagated(shift: Float64Array, x: FloatArray, rows: IntArray, *, width: float) -> Float64Array:
    """The shifts [n, classes] of the rows `rows` [n] of x [P, *shape], carried to all rows [P, classes].

    width: of the Gaussian kernel, as a share of the rows' median distance; 0 moves no other row.
    """
    if width == 0 or len(rows) < 2:
        everywhere = np.zeros((len(x), shift.shape[1]))
        everywhere[rows] = shift
        return everywhere
    kernel = kernel_of(x, rows, width=width)
    carried: Float64Array = kernel @ np.linalg.solve(kernel[rows] + np.eye(len(rows)), shift)
    return carried
