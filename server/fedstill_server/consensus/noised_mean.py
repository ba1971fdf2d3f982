"""What a method receives of a round's answers where they are noised."""

from __future__ import annotations

from dataclasses import dataclass

from fedstill_proto.arrays import Float64Array

# The part of a sum that devices of all families are in, where their vectors mean the same.
ALL_FAMILIES = ""


@dataclass(frozen=True, eq=False)
class NoisedMean:
    """The mean vector [d] over `devices`, and the standard deviation of the noise in each of its numbers."""

    vector: Float64Array
    noise: float
    devices: int
