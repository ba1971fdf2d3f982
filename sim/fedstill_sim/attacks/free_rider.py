"""A device that takes and does not give: it answers what it was told, as one that never trained would.

Of parameters that is the start itself (Fraboni et al. 2021, arXiv 2006.11901).
"""

from __future__ import annotations

import numpy as np

from fedstill_sim.attacks.answers import LabelAnswers, ParameterAnswers
from fedstill_sim.attacks.interface import Attack, LabelView, ParameterView


class FreeRider(Attack):
    line = "each answers what it was told, without any training (Fraboni et al. 2021, arXiv 2006.11901)"

    def soft_labels(self, view: LabelView) -> LabelAnswers:
        return view.own.with_probabilities(view.having_moved(np.zeros_like(view.start)))

    def parameters(self, view: ParameterView) -> ParameterAnswers:
        return view.own.saying(view.start)
