"""Compressed federated distillation (Sattler et al. 2021, arXiv 2012.00632): labels of one bit, both ways.

A device quantizes its soft label of each public example to b bits under the constraint that it stays a
distribution; with b = 1 that is the likeliest class, Q_1(p) = onehot(argmax p). The server learns the mean
of the quantized labels, and sends back its own model's view of the public set, quantized alike (dual
distillation):

    m(x) = 1/M sum_i Q(p_i(x)),    server <- distil(server, m),    target(x) = Q(softmax(server(x)))

The teacher is the server's model. Answers are levels on the grid of shares (proto: levels.py), entropy coded
against the targets that the task itself carried: the paper's delta coding, where what both sides hold is the
task instead of an earlier round, so that a device that missed a round decodes as well as any. Another number
of bits is the uplink's codec. Targets travel as the downlink's codec says, and hold one-hot rows at one bit.

A student is not pulled to a one-hot row with less than its label's force: T^2 KL is bounded below by 0, but
at a high temperature it asks for large logits. That is the paper's one-bit trade.
"""

from __future__ import annotations

import numpy as np
from fedstill_proto.arrays import FloatArray
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec

from fedstill_server.consensus.aggregation import VoteSums
from fedstill_server.methods.public_consensus import CONSENSUS, KNOWN, PublicConsensus
from fedstill_server.state import FleetState


class Cfd(PublicConsensus):
    line = "the likeliest class of public examples, both ways (CFD: Sattler et al. 2021, arXiv 2012.00632)"

    @property
    def codec(self) -> SoftLabelCodec:
        """Levels as configured, or of one bit."""
        asked = self.config.uplink
        if asked.encoding is Encoding.LEVELS:
            return asked
        return SoftLabelCodec(Encoding.LEVELS, bits=1, entropy=True, delta=True)

    def taught(self, state: FleetState) -> FloatArray:
        """The teacher's view of each row, quantized."""
        return state.arrays[CONSENSUS]

    def start(self, state: FleetState) -> FleetState:
        state = super().start(state)
        known = state.arrays[KNOWN].astype(bool)
        consensus = state.arrays[CONSENSUS].copy()
        consensus[known] = self.codec.rounded(consensus[known]).dense()
        return state.replace(arrays={**state.arrays, CONSENSUS: consensus})

    def learn(self, state: FleetState, consensus: VoteSums, *, round_number: int) -> FleetState:
        """The teacher learns the devices' mean; its own view of the same rows is what all others learn."""
        voted = self.remember(state, consensus, round_number=round_number)
        rows = np.flatnonzero(voted.arrays[KNOWN])
        if len(rows) == 0:
            return voted
        x, mean = self.public.x[rows], voted.arrays[CONSENSUS][rows]
        voted = self.teacher_learns(voted, x, mean, round_number=round_number)
        said = voted.arrays[CONSENSUS].copy()
        said[rows] = self.codec.rounded(self.teacher_says(voted, x)).dense()
        voted = self.students_learn(voted, x, said[rows], round_number=round_number)
        return voted.replace(arrays={**voted.arrays, CONSENSUS: said})
