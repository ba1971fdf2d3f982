"""SCARLET (Azuma et al. 2025, arXiv 2504.19602): enhanced entropy reduction, and a cache of soft labels.

Enhanced entropy reduction raises the mean of the devices' probabilities to a power, and normalizes:

    p(x)_c = m(x)_c^era_exponent / sum_k m(x)_k^era_exponent,    m(x) = 1/M sum_i p_i(x)

An exponent of 1 is the plain mean, and unlike a softmax over probabilities it leaves a sure mean sure.

The cache: a public example whose soft label is not older than `cache_rounds` is not asked for again. Each
round looks at as many rows as any method of the public set, and asks for those without a fresh label; a
round without such rows asks for nothing and its devices only train. Uplink falls to about 1/cache_rounds of
it once every row has been answered. The cache is the server's, and is part of its checkpoint.

What is left out: the paper's devices hold a copy of the cache, so that it travels down only once. Here a
task brings the soft labels that its devices train on, and is understood by a device that missed every round
before; that saving is the wire's to make.
"""

from __future__ import annotations

import numpy as np
from fedstill_proto.arrays import Float64Array, IntArray

from fedstill_server.config.options import option
from fedstill_server.consensus.aggregation import VoteSums
from fedstill_server.consensus.weighting import normalized
from fedstill_server.methods.public_consensus import PublicConsensus
from fedstill_server.state import FleetState

ANSWERED = "public_answered_round"  # [P] the round of each row's soft label; 0 is none of the devices'


class Scarlet(PublicConsensus):
    line = "sharpened mean, asked for again only when its cache expires (Azuma et al. 2025, arXiv 2504.19602)"
    sums_unsoftened = True
    era_exponent: float = option(2.0, "Exponent of the mean probabilities.", least=0.1, most=100)
    cache_rounds: int = option(10, "Rounds until a soft label is asked for again.", least=1)

    def start(self, state: FleetState) -> FleetState:
        state = super().start(state)
        return state.replace(arrays={**state.arrays, ANSWERED: np.zeros(len(self.public), np.int64)})

    def asked_rows(self, state: FleetState, round_number: int) -> IntArray:
        """The rows of the round whose soft label is missing or too old."""
        rows = super().asked_rows(state, round_number)
        answered = state.arrays[ANSWERED][rows]
        expired = round_number - answered >= self.cache_rounds
        return np.asarray(rows[(answered == 0) | expired])

    def aggregate(self, mean: Float64Array) -> Float64Array:
        return enhanced(mean, exponent=self.era_exponent)

    def remember(self, state: FleetState, sums: VoteSums, *, round_number: int) -> FleetState:
        answered = state.arrays[ANSWERED].copy()
        answered[sums.votes > 0] = round_number
        state = super().remember(state, sums, round_number=round_number)
        return state.replace(arrays={**state.arrays, ANSWERED: answered})


def enhanced(probabilities: Float64Array, *, exponent: float) -> Float64Array:
    """p^exponent, normalized over the last dimension."""
    return normalized(probabilities**exponent)
