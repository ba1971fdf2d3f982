"""Federated distillation over the public set (FedMD: Li and Wang 2019, arXiv 1910.03581; DS-FL: Itahara et
al. 2020, arXiv 2008.06180; FedDF: Lin et al. 2020, arXiv 2006.07242).

Devices answer with their soft labels of a batch of public rows, and the server takes a step along the mean
shift of these (public_shift.py):

    z <- z + server_rate * way

FedMD's mean of logits is a server_rate of 1 without the kernel and the mean over the rows. A rate above 1 is
the server's learning rate of Reddi et al. 2020 (arXiv 2003.00295), taken in the space of soft labels: on
skewed data only few devices know an example's class, the others do not move there, and a plain mean would
drown the few. `sharpen` below 1 is DS-FL's entropy reduction.
"""

from __future__ import annotations

from collections.abc import Callable

from fedstill_proto.arrays import Float64Array, FloatArray
from fedstill_proto.messages import SoftLabelSummary

from fedstill_server.config.options import option
from fedstill_server.consensus.aggregation import RowSums
from fedstill_server.consensus.coordinates import centred_logits
from fedstill_server.methods.public_shift import LOGITS, PublicShift
from fedstill_server.state import FleetState


class PublicLogits(PublicShift):
    line = "mean shift of the soft labels of public examples, and a server step (after FedMD, DS-FL)"
    server_rate: float = option(
        8.0, "How far the server follows the devices' consensus in a round.", above=0, most=1000
    )

    @property
    def runs_students(self) -> bool:
        return not self.relative

    def contribution(self, state: FleetState, *, round_number: int) -> Callable[[SoftLabelSummary], RowSums]:
        """The shift of a device's logits away from the student it started from."""
        if self.relative:
            return super().contribution(state, round_number=round_number)
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
        way, share = self.way_of(state, consensus)
        logits = state.arrays[LOGITS] + self.server_rate * share * consensus.freshness * way
        state = self.moved(state, logits)
        return self.all_learn(state, self.public.x, self.taught(state), round_number=round_number)

    def _start_logits(self, state: FleetState, family: str, x: FloatArray) -> Float64Array:
        """What a device that learned nothing would answer, coded like an answer: its shift is exactly 0."""
        said = self.config.uplink.rounded(self.student_says(family, state.students[family], x))
        return centred_logits(said.dense(), least=self.config.uplink.least)
