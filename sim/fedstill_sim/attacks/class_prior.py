"""The class prior attack of Roux, Zimmer and Pokutta 2025 (arXiv 2402.12265).

Of each row all adversaries give probability 1 to the class that is least similar to the likeliest one. How
similar two classes are is the covariance of their probabilities over the public rows, here under the honest
mean of the round: a student that learns it confuses what is far apart.
"""

from __future__ import annotations

import numpy as np

from fedstill_sim.attacks.answers import LabelAnswers, one_hot, softmax
from fedstill_sim.attacks.interface import Attack, LabelView


class ClassPrior(Attack):
    line = "CPA: all say the class that is least similar to the honest mean's likeliest (arXiv 2402.12265)"

    def soft_labels(self, view: LabelView) -> LabelAnswers:
        similarity = np.cov(softmax(view.leaning), rowvar=False)
        farthest = similarity.argmin(axis=1)
        return view.saying(one_hot(farthest[view.leaning.argmax(axis=1)], view.classes))
