"""All adversaries say the same of everything (the same-value attack: Li et al. 2019, arXiv 1811.03761)."""

from __future__ import annotations

import numpy as np
from fedstill_server.config.options import option

from fedstill_sim.attacks.answers import LabelAnswers, ParameterAnswers, one_hot
from fedstill_sim.attacks.interface import Attack, LabelView, ParameterView


class SameValue(Attack):
    line = "all say one class of every row, or one number for every parameter (arXiv 1811.03761)"
    target: int = option(0, "The class; of fewer classes the last one.", least=0)
    value: float = option(1.0, "The number.", least=-1e6, most=1e6)

    def soft_labels(self, view: LabelView) -> LabelAnswers:
        target = min(self.target, view.classes - 1)
        return view.saying(one_hot(np.full(view.rows, target), view.classes))

    def parameters(self, view: ParameterView) -> ParameterAnswers:
        return view.own.saying(np.full_like(view.start, self.value))
