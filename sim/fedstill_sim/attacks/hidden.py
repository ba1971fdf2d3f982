"""HIPS, hiding predictions in the simplex (Roux, Zimmer and Pokutta 2025, arXiv 2402.12265).

Of each row all adversaries repeat that honest answer which does most harm: whose cross-entropy with the
honest mean is largest. Each row is one that an honest device sent, so that no filter of rows can tell.
"""

from __future__ import annotations

import numpy as np

from fedstill_sim.attacks.answers import LabelAnswers, softmax
from fedstill_sim.attacks.interface import Attack, LabelView


class Hidden(Attack):
    line = "HIPS: all repeat, of each row, the honest answer that does most harm (arXiv 2402.12265)"

    def soft_labels(self, view: LabelView) -> LabelAnswers:
        believed = softmax(view.leaning)
        logs = np.log(np.maximum(view.honest.probabilities, view.least))
        loss = -(believed * logs).sum(axis=2)  # [n, rows]
        loss = np.where(view.honest.said, loss, -np.inf)
        return view.saying(view.honest.probabilities[loss.argmax(axis=0), np.arange(view.rows)])
