"""FedDF (Lin et al. 2020, arXiv 2006.07242): averaged students, mended by distilling the ensemble of all of
them.

Devices send whole students, as in FedAvg. The server averages each family, and then lets every average learn
what all the students together say of the public set, of whatever families they are:

    w_f = mean_i w_i over the devices of family f, each counting once (fedavg.py)
    q(x) = softmax(1/M sum_i z_i(x) / T),    w_f <- distil(w_f, q) with T^2 KL(q || softmax(z/T))

Devices install their family's result each round. A family without a device in the round learns q, too; so
does the teacher.

A device's logits count as log-probabilities of at least log 1e-6, less their mean over the classes: the same
for the softmax, but bounded, so that no device outweighs all others. The paper stops early on held-out
labels and drops devices that are no better than chance on them; here the plan of every other method's server
learning is followed, and no labels are needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from fedstill_proto.arrays import Float64Array, FloatArray
from fedstill_proto.messages import SoftLabelSummary
from fedstill_proto.package.target import TargetKind

from fedstill_server.consensus.aggregation import Both, FamilySums, RowSums
from fedstill_server.consensus.coordinates import centred_logits
from fedstill_server.consensus.folds.norms import Norms
from fedstill_server.consensus.weighting import normalized
from fedstill_server.data.forms import Labels
from fedstill_server.methods.fedavg import FedAvg, weights_option
from fedstill_server.methods.folded import FirstFolded, fold_option
from fedstill_server.state import FleetState

_LEAST = 1e-6


class FedDf(FirstFolded, FedAvg):
    line = "averaged students that learn the ensemble of all (FedDF: Lin et al. 2020, arXiv 2006.07242)"
    fold: str = fold_option("clipped, median, trimmed or mean, of students")
    start_from: str = weights_option()
    label_places = (Labels.ONE,)
    learns_public = True
    target_kinds = (TargetKind.SINGLE_LABEL,)
    default_clip: ClassVar[float | None] = None  # it tries each student on its own

    @property
    def runs_students(self) -> bool:
        return True

    def zero(self, *, round_number: int) -> Both[FamilySums, RowSums]:
        return Both(FamilySums(), RowSums.zero(len(self.public), self.config.classes))

    def norms(self, part: Both[FamilySums, RowSums]) -> Norms:
        return super().norms(part.first)

    def contribution(
        self, state: FleetState, *, round_number: int
    ) -> Callable[[SoftLabelSummary], Both[FamilySums, RowSums]]:
        moved = super().contribution(state, round_number=round_number)

        def sums(summary: SoftLabelSummary) -> Both[FamilySums, RowSums]:
            parameters = summary.statistics.parameters
            said = self.student_says(summary.family, parameters, self.public.x, temperature=1)
            return Both(moved(summary), RowSums.of_rows(bounded_logits(said)))

        return sums

    def learn(
        self, state: FleetState, consensus: Both[FamilySums, RowSums], *, round_number: int
    ) -> FleetState:
        """Average each family, and let all of them and the teacher learn the ensemble."""
        state = super().learn(state, consensus.first, round_number=round_number)
        ensemble = self.ensemble(consensus.second)
        return self.all_learn(state, self.public.x, ensemble, round_number=round_number)

    def ensemble(self, logits: RowSums) -> FloatArray:
        """softmax of the mean logits, at the plan's temperature [P, classes]."""
        mean = logits.result() / self.training.temperature
        return normalized(np.exp(mean - mean.max(axis=1, keepdims=True))).astype(np.float32)


def bounded_logits(soft_labels: FloatArray) -> Float64Array:
    """Centred logits [P, classes]; a student whose answers are no numbers says nothing."""
    finite = np.isfinite(soft_labels).all(axis=1, keepdims=True)
    even = np.float32(1 / soft_labels.shape[1])
    return centred_logits(np.where(finite, soft_labels, even).astype(np.float32), least=_LEAST)
