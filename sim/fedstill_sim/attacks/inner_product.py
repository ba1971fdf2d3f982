"""Inner product manipulation (Xie et al. 2019, arXiv 1903.03936): against the mean, and so short that nobody
takes offence.

All adversaries send -epsilon times the mean of the honest moves: the mean of everything then points the other
way, or nowhere.
"""

from __future__ import annotations

from fedstill_server.config.options import option

from fedstill_sim.attacks.answers import LabelAnswers, ParameterAnswers
from fedstill_sim.attacks.interface import Attack, LabelView, ParameterView


class InnerProduct(Attack):
    line = "all move against the honest mean, a little (IPM: Xie et al. 2019, arXiv 1903.03936)"
    epsilon: float = option(1.0, "How far, in lengths of the honest mean.", above=0, most=1000)

    def soft_labels(self, view: LabelView) -> LabelAnswers:
        return view.saying(view.having_moved(-self.epsilon * view.moved.mean(axis=0)))

    def parameters(self, view: ParameterView) -> ParameterAnswers:
        return view.own.saying(view.start - self.epsilon * view.mean)
