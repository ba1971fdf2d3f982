"""Colluders who know all honest answers speak for the class that the fleet believes in second.

In a mean of soft labels the second class needs the fewest votes to overtake the first. Known from Roux et
al. 2025 (arXiv 2402.12265) as the adversarial sign flip of predictions.
"""

from __future__ import annotations

import numpy as np

from fedstill_sim.attacks.answers import LabelAnswers, one_hot
from fedstill_sim.attacks.interface import Attack, LabelView


class SecondClass(Attack):
    line = "all say, of each row, the class that the honest devices together believe in second"

    def soft_labels(self, view: LabelView) -> LabelAnswers:
        second = np.argsort(-view.leaning, axis=1, kind="stable")[:, 1]
        return view.saying(one_hot(second, view.classes))
