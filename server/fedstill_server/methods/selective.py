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

from fedstill_server.config.options import option
from fedstill_server.consensus.aggregation import VoteSums, entropy
from fedstill_server.methods.public_consensus import PublicConsensus
from fedstill_server.state import FleetState


class Selective(PublicConsensus):
    line = "the mean of what devices know something of (Selective-FD: Shao et al. 2023, arXiv 2304.01731)"
    sums_unsoftened = True
    least_density_ratio: float = option(
        0.5,
        "A device answers public examples that are at least so common among its own, compared with the "
        "public ones; 0 is off.",
        least=0,
        most=1e6,
    )
    most_ambiguity: float = option(
        0.9,
        "A device leaves out public examples that its student is less sure of, as a share of a uniform "
        "label's entropy; 1 is off.",
        least=0,
        most=1,
    )
    most_entropy: float = option(
        0.9,
        "The server leaves out public examples whose mean says less, as such a share; 1 is off.",
        least=0,
        most=1,
    )

    @property
    def selection(self) -> RowSelection:
        return RowSelection(self.least_density_ratio, self.most_ambiguity)

    def remember(self, state: FleetState, sums: VoteSums, *, round_number: int) -> FleetState:
        limit = self.most_entropy * np.log(self.config.classes)
        clear = entropy(sums.mean()) <= limit
        kept = replace(sums, votes=np.where(clear, sums.votes, 0))
        return super().remember(state, kept, round_number=round_number)
