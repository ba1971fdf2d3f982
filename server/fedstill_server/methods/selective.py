"""Selective-FD (Shao et al. 2023, arXiv 2304.01731): only knowledge that is neither misleading nor
ambiguous.

A device answers the rows that look like its own examples, by a density-ratio estimate, and that its student
is sure of (client: row_selection.py); which rows these are goes up as one bit each. The server takes the
mean of the answers of each row, and leaves out rows that stay ambiguous:

    p(x) = mean over the devices that answered x,    kept if H(p(x)) <= most_entropy log K

A row that nobody answered, or whose mean is left out, keeps its last consensus, or has none.

What differs: densities are compared with the public rows', not with uniform noise, and both thresholds are
plain numbers: entropy is a share of log K, so that one fits any number of classes. As in DS-FL, entropies
are those of softmax(z).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from fedstill_proto.messages import RowSelection

from fedstill_server.consensus.aggregation import VoteSums, entropy
from fedstill_server.methods.public_consensus import PublicConsensus
from fedstill_server.state import FleetState


class Selective(PublicConsensus):
    line = "the mean of what devices know something of (Selective-FD: Shao et al. 2023, arXiv 2304.01731)"
    sums_unsoftened = True

    @property
    def selection(self) -> RowSelection:
        asked = self.config.consensus
        return RowSelection(asked.least_density_ratio, asked.most_ambiguity)

    def remember(self, state: FleetState, sums: VoteSums, *, round_number: int) -> FleetState:
        limit = self.config.consensus.most_entropy * np.log(self.config.classes)
        clear = entropy(sums.mean()) <= limit
        kept = replace(sums, votes=np.where(clear, sums.votes, 0))
        return super().remember(state, kept, round_number=round_number)
