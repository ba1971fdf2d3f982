"""Folds between groups whose sums are all that the server has: the means of groups become one.

Within a group nobody can tell one answer from another. Between groups each mean is as good as any; where a
liar has moved one, the median of each number (Yin et al. 2018, arXiv 1803.01498) stays with those of the
other groups, as long as more than half of all groups have none. The means are noised already, so that nothing
here costs privacy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import Float64Array

from fedstill_server.consensus.noised_mean import NoisedMean

_MEDIAN_NOISE = math.sqrt(math.pi / 2)  # of a median of many normal numbers, beside that of their mean


@dataclass(frozen=True, eq=False)
class GroupMean:
    """The mean vector [d] of a group, the deviation of the noise in each of its numbers, and its devices."""

    vector: Float64Array
    noise: float
    devices: int


GroupFold = Callable[[Sequence[GroupMean]], NoisedMean]


def median_of_groups(groups: Sequence[GroupMean]) -> NoisedMean:
    """Every group counts the same; of up to two groups the median is their mean."""
    wider = 1.0 if len(groups) < 3 else _MEDIAN_NOISE
    noise = wider * math.sqrt(sum(group.noise**2 for group in groups)) / len(groups)
    vector: Float64Array = np.median([group.vector for group in groups], axis=0)
    return NoisedMean(vector, noise, sum(group.devices for group in groups))


GROUP_FOLDS: Mapping[str, GroupFold | None] = {"mean": None, "median": median_of_groups}
"""None adds the groups' sums up: every device counts the same."""
