"""Steps in which a part of a student stands still: first all but some parameters, then those.

FedRep (Collins et al. 2021, arXiv 2102.07078) fits a device's head to the body that it was given, and then
moves the body with the head held. The training graph moves all parameters in each step; what stands still is
put back as it was, with the slots of its optimizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray


@dataclass(frozen=True, eq=False, kw_only=True)
class Alternation:
    """Which parameters learn in which steps of a round.

    Attributes:
        first: The names of those that learn first; in the other steps all others do.
        steps: In how many steps of each device [C].
    """

    first: tuple[str, ...]
    steps: IntArray

    def put_into(
        self, after: Mapping[str, FloatArray], before: Mapping[str, FloatArray], *, lr: FloatArray, step: int
    ) -> None:
        """Put back what stands still in a step that was taken; see StepChange."""
        now_first = step < self.steps  # [C]
        for name, array in after.items():
            early = any(name == one or name.startswith(f"{one}.") for one in self.first)
            still = ~now_first if early else now_first
            if still.any():
                here = still.reshape(-1, *(1 for _ in array.shape[1:]))
                np.copyto(array, before[name], where=here)
