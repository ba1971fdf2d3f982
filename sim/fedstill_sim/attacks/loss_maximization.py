"""The loss maximization attack of Roux, Zimmer and Pokutta 2025 (arXiv 2402.12265).

Of each row all adversaries give probability 1 to the class that the mean of the honest answers holds for the
least likely: of all answers that is the one with the largest cross-entropy.
"""

from __future__ import annotations

from fedstill_sim.attacks.answers import LabelAnswers, one_hot
from fedstill_sim.attacks.interface import Attack, LabelView


class LossMaximization(Attack):
    line = "LMA: all say the class that the honest mean holds for least likely (arXiv 2402.12265)"

    def soft_labels(self, view: LabelView) -> LabelAnswers:
        return view.saying(one_hot(view.leaning.argmin(axis=1), view.classes))
