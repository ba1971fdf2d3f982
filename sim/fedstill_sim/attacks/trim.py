"""Directed deviation against trimmed means and medians (Fang et al. 2020, arXiv 1911.11815).

All adversaries place each number just beyond the honest answers, on the side that the honest mean does not go
to: what is trimmed there is their own, and what is trimmed on the other side are honest extremes. Of soft
labels, the right class is placed below all honest answers and the others above.
"""

from __future__ import annotations

import numpy as np
from fedstill_server.config.options import option

from fedstill_sim.attacks.answers import LabelAnswers, ParameterAnswers
from fedstill_sim.attacks.interface import Attack, LabelView, ParameterView


class Trim(Attack):
    line = "all place each number just beyond the honest ones, on the wrong side (arXiv 1911.11815)"
    beyond: float = option(0.1, "How far beyond, in spans of the honest answers.", least=0, most=10)

    def soft_labels(self, view: LabelView) -> LabelAnswers:
        low, high = view.moved.min(axis=0), view.moved.max(axis=0)
        right, rival = view.rivals
        margin = self.beyond * (high - low)
        places = view.moved.mean(axis=0)
        rows = np.arange(view.rows)
        places[rows, rival] = (high + margin)[rows, rival]
        places[rows, right] = (low - margin)[rows, right]
        return view.saying(view.having_moved(places))

    def parameters(self, view: ParameterView) -> ParameterAnswers:
        low, high = view.moved.min(axis=0), view.moved.max(axis=0)
        margin = self.beyond * (high - low)
        return view.own.saying(view.start + np.where(view.mean > 0, low - margin, high + margin))
