"""Min-max (Shejwalkar and Houmansadr 2021, NDSS): as far from the honest mean as honest devices are apart.

All adversaries send mean + gamma * direction, gamma being the largest for which they are no farther from any
honest answer than the two honest answers that are farthest apart:

    max_i |mean + gamma u - s_i| <= max_ij |s_i - s_j|

What compares whole answers, as nearest-neighbour mixing does, takes them for its neighbours. The direction
of soft labels is from each row's right class to the likeliest other one, and of parameters against the mean.
Orthogonal to the labels, it passes trust by labels and nearest-neighbour mixing at once.
"""

from __future__ import annotations

import numpy as np
from fedstill_proto.arrays import Float64Array
from fedstill_server.config.options import option

from fedstill_sim.attacks.answers import LabelAnswers, ParameterAnswers
from fedstill_sim.attacks.blind_spot import unseen_harm
from fedstill_sim.attacks.interface import Attack, LabelView, ParameterView


class MinMax(Attack):
    line = "all are as far from the honest mean as honest devices are apart (Shejwalkar et al. 2021, NDSS)"

    unseen: bool = option(
        False, "Of soft labels: whether the direction is one that trust by labels cannot see (blind-spot)."
    )

    def soft_labels(self, view: LabelView) -> LabelAnswers:
        moved = view.moved.reshape(len(view.honest), -1)
        direction = (unseen_harm(view) if self.unseen else view.harm).reshape(-1)
        step = farthest_unnoticed(moved, direction)
        away = moved.mean(axis=0) + step * direction
        return view.saying(view.having_moved(away.reshape(view.harm.shape)))

    def parameters(self, view: ParameterView) -> ParameterAnswers:
        step = farthest_unnoticed(view.moved, -view.mean)
        return view.own.saying(view.start + (1 - step) * view.mean)


def farthest_unnoticed(answers: Float64Array, direction: Float64Array) -> float:
    """The largest gamma of the answers [n, d] and a direction [d]; 0 where there is none."""
    spread = answers - answers.mean(axis=0)
    squares = (spread**2).sum(axis=1)
    between = squares[:, None] + squares - 2 * spread @ spread.T
    length = float(direction @ direction)
    if length == 0:
        return 0.0
    # |gamma u - d_i|^2 <= M: the larger root of gamma^2 |u|^2 - 2 gamma u d_i + |d_i|^2 - M, least over i.
    along = spread @ direction
    roots = (along + np.sqrt(np.maximum(along**2 - length * (squares - between.max()), 0))) / length
    return max(0.0, float(roots.min()))
