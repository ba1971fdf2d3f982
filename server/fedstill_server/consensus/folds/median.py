"""The coordinate-wise median (Yin et al. 2018, arXiv 1803.01498): what half of the devices say at least.

    d_rc = median_i s_irc    over the devices that answered row r

It holds against any minority that lies, and hears no minority that knows: where few devices know a class,
the others, which do not move there, have the median.
"""

from __future__ import annotations

import numpy as np
from fedstill_proto.arrays import Float64Array

from fedstill_server.consensus.folds.buffered import Buffered


class Median(Buffered):
    line = "the median of each number (Yin et al. 2018, arXiv 1803.01498)"

    def combine(self, answers: Float64Array) -> Float64Array:
        median: Float64Array = np.nanmedian(answers, axis=0)
        return median
