"""Parameters as large as a float32 can hold: a mean of them is infinite, and so is every student after it."""

from __future__ import annotations

import numpy as np
from fedstill_server.config.options import option

from fedstill_sim.attacks.answers import ParameterAnswers
from fedstill_sim.attacks.interface import Attack, ParameterView


class HugeWeights(Attack):
    line = "each sends parameters of 3e38, the largest that are finite"
    value: float = option(3e38, "The number that every parameter is.", least=-3.4e38, most=3.4e38)

    def parameters(self, view: ParameterView) -> ParameterAnswers:
        return view.own.saying(np.full_like(view.start, self.value))
