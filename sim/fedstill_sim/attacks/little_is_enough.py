"""A little is enough (Baruch et al. 2019, arXiv 1902.06156): within the spread of the honest answers.

All adversaries send mean - z * deviation of each number, z being so small that a majority that has liars in
it is nearer to them than to the honest rest:

    z = inverse Phi((n - m - s) / (n - m)),    s = floor(n / 2 + 1) - m,    of n devices with m adversaries

Of soft labels, the right class goes down by so much, and all others up.
"""

from __future__ import annotations

import statistics

import numpy as np
from fedstill_server.config.options import option

from fedstill_sim.attacks.answers import LabelAnswers, ParameterAnswers
from fedstill_sim.attacks.interface import Attack, LabelView, ParameterView


class LittleIsEnough(Attack):
    line = "all stay within the spread of the honest answers, on its wrong side (ALIE: arXiv 1902.06156)"
    z: float | None = option(
        None, "Standard deviations from the mean; none is what the paper's formula says.", above=0, most=100
    )

    def soft_labels(self, view: LabelView) -> LabelAnswers:
        away = 1 - 2 * np.eye(view.classes)[view.rivals[0]]  # [rows, classes]
        z = self.z or allowed_deviations(len(view.honest), len(view.own))
        return view.saying(view.having_moved(view.moved.mean(axis=0) + z * view.moved.std(axis=0) * away))

    def parameters(self, view: ParameterView) -> ParameterAnswers:
        z = self.z or allowed_deviations(len(view.honest), len(view.own))
        return view.own.saying(view.start + view.mean - z * view.moved.std(axis=0))


def allowed_deviations(honest: int, adversaries: int) -> float:
    """The paper's z for so many devices of each kind; at least a tenth."""
    devices = honest + adversaries
    supporters = devices // 2 + 1 - adversaries
    share = (honest - supporters) / honest
    return max(0.1, statistics.NormalDist().inv_cdf(min(max(share, 0.01), 0.99)))
