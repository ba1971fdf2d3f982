"""DS-FL (Itahara et al. 2020, arXiv 2008.06180): entropy reduction aggregation.

The mean over devices of their probabilities is blurred where their data differ. The server sharpens it:

    p(x) = softmax( (1/M sum_i p_i(x)) / era_temperature )

with an era_temperature of 0.1: a softmax over probabilities, which never gets sharper than exp(10) : 1.

The paper's rule is one of softmax(z). Summaries carry softmax(z/T), so the server raises them to the power T
first, and softens what comes out again for the devices' loss; the paper's own is cross-entropy at T = 1.
"""

from __future__ import annotations

import numpy as np
from fedstill_proto.arrays import Float64Array

from fedstill_server.config.options import option
from fedstill_server.consensus.weighting import normalized
from fedstill_server.methods.public_consensus import PublicConsensus


class DsFl(PublicConsensus):
    line = "the same mean with its entropy reduced (DS-FL: Itahara et al. 2020, arXiv 2008.06180)"
    sums_unsoftened = True
    era_temperature: float = option(
        0.1, "Temperature of the softmax over mean probabilities.", least=0.01, most=10
    )

    def aggregate(self, mean: Float64Array) -> Float64Array:
        return reduced_entropy(mean, temperature=self.era_temperature)


def reduced_entropy(probabilities: Float64Array, *, temperature: float) -> Float64Array:
    """softmax(probabilities / temperature) over the last dimension."""
    scaled = probabilities / temperature
    return normalized(np.exp(scaled - scaled.max(axis=-1, keepdims=True)))
