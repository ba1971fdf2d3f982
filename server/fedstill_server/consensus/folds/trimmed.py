"""The coordinate-wise trimmed mean (Yin et al. 2018, arXiv 1803.01498), for a share of liars of up to .3.

d_rc = the mean of s_irc without the floor(.3 n) largest and smallest of the n answers about row r
"""

from __future__ import annotations

import numpy as np
from fedstill_proto.arrays import Float64Array

from fedstill_server.consensus.folds.buffered import Buffered

LIARS = 0.3  # the share of devices that is taken to lie


class Trimmed(Buffered):
    line = "the mean of each number without its extremes (Yin et al. 2018, arXiv 1803.01498)"

    def combine(self, answers: Float64Array) -> Float64Array:
        return trimmed_mean(answers, share=LIARS)


def trimmed_mean(answers: Float64Array, *, share: float) -> Float64Array:
    """The mean over the first dimension, NaN left out, without `share` of the numbers at each end."""
    ordered = np.sort(answers, axis=0)  # NaN last
    said = (~np.isnan(ordered)).sum(axis=0)
    cut = np.floor(share * said).astype(np.int64)
    place = np.arange(len(ordered)).reshape(-1, *[1] * (ordered.ndim - 1))
    kept = (place >= cut) & (place < said - cut)
    mean: Float64Array = np.where(kept, ordered, 0).sum(axis=0) / np.maximum(kept.sum(axis=0), 1)
    return mean
