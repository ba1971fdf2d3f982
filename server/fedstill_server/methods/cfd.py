"""Compressed federated distillation (Sattler et al. 2021, arXiv 2012.00632): labels of one bit, both ways.

A device quantizes its soft label of each public example to b bits under the constraint that it stays a
distribution; with b = 1 that is the likeliest class, Q_1(p) = onehot(argmax p). The server learns the mean
of the quantized labels, and sends back its own model's view of the public set, quantized alike (dual
distillation):

    m(x) = 1/M sum_i Q(p_i(x)),    server <- distil(server, m),    target(x) = Q(softmax(server(x)))

The teacher is the server's model. Of a device's answer the likeliest class is all that counts, so that is
all it sends: a class number, instead of a probability for each class. Targets travel as `downlink` codes
them.

The paper's delta coding between rounds belongs to the wire, not to the method.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from fedstill_proto.soft_labels import Encoding, FloatArray, SoftLabelCodec

from fedstill_server.aggregation import Float64Array, VoteSums
from fedstill_server.methods.public_consensus import CONSENSUS, KNOWN, PublicConsensus
from fedstill_server.networks import soft_labels_of
from fedstill_server.state import FleetState
from fedstill_server.teacher import build_teacher, student_learns, teacher_learns
from fedstill_server.weighting import Vote


class Cfd(PublicConsensus):
    line = "the likeliest class of public examples, both ways (CFD: Sattler et al. 2021, arXiv 2012.00632)"

    @property
    def codec(self) -> SoftLabelCodec:
        return SoftLabelCodec(Encoding.TOP_K, 1)

    def read(self, vote: Vote) -> Vote:
        return replace(vote, probabilities=quantized(vote.probabilities))

    def taught(self, state: FleetState) -> FloatArray:
        """The teacher's likeliest class of each row."""
        return state.arrays[CONSENSUS]

    def start(self, state: FleetState) -> FleetState:
        state = super().start(state)
        consensus = quantized(state.arrays[CONSENSUS].astype(np.float64)).astype(np.float32)
        return state.replace(arrays={**state.arrays, CONSENSUS: consensus})

    def learn(self, state: FleetState, consensus: VoteSums, *, round_number: int) -> FleetState:
        """The teacher learns the devices' mean; its own view of the same rows is what all others learn."""
        voted = self.remember(state, consensus, round_number=round_number)
        rows = np.flatnonzero(voted.arrays[KNOWN])
        if len(rows) == 0:
            return voted
        x, mean = self.public.x[rows], voted.arrays[CONSENSUS][rows]
        teacher = teacher_learns(self.config, state.teacher, x, mean, round_number=round_number)
        view = soft_labels_of(build_teacher(self.config, teacher), x, temperature=self.training.temperature)
        said = voted.arrays[CONSENSUS].copy()
        said[rows] = quantized(view.astype(np.float64)).astype(np.float32)
        students = {
            family: student_learns(self.config, family, student, x, said[rows], round_number=round_number)
            for family, student in state.students.items()
        }
        arrays = {**voted.arrays, CONSENSUS: said}
        return voted.replace(teacher=teacher, students=students, arrays=arrays)


def quantized(probabilities: Float64Array) -> Float64Array:
    """The likeliest class, the first of equals, as a distribution; a row of nothing stays nothing."""
    likeliest = np.zeros_like(probabilities)
    np.put_along_axis(likeliest, probabilities.argmax(axis=1)[:, None], 1, axis=1)
    likeliest[probabilities.sum(axis=1) == 0] = 0
    return likeliest
