"""Against trust by labels: Sybils who say the labels, and beside them what no label can see.

Such a fold trusts a device, class by class, as far as its answers move the way of the labels; it weighs the
column s_c of a class with w = max(0, cos(s_c, y_c)), both less their means. What is orthogonal to y_c costs
trust only by its length. The column that does most harm is

    s_c = w y_c / |y_c| + sqrt(1 - w^2) h_c / |h_c|,    h_c = harm_c less its part along y_c

since the harm that gets through is w sqrt(1 - w^2), the most at w^2 = 1/2. The harm is aimed at the rows that
are nearest to another class, where little is needed. Rows are as long as an honest one's, so that nothing is
clipped. Without labels on the server, what the fleet believes takes their place. Of class means, whose labels
everybody knows, each is half its own class and half its likeliest other.
"""

from __future__ import annotations

import numpy as np
from fedstill_proto.arrays import Float64Array
from fedstill_proto.messages import SummaryKind
from fedstill_server.config.options import option

from fedstill_sim.attacks.answers import LabelAnswers, one_hot
from fedstill_sim.attacks.interface import Attack, LabelView


class BlindSpot(Attack):
    line = "all say the labels, and what no label can see beside them, where it does most harm"
    trust: float = option(
        0.707,
        "The cosine with the labels that they aim at: more is trusted more and harms less.",
        above=0,
        most=1,
    )
    length: float = option(1.0, "How far rows move, in usual lengths of honest ones.", above=0, most=100)

    def soft_labels(self, view: LabelView) -> LabelAnswers:
        right, rival = view.rivals
        if view.request.kind is SummaryKind.CLASS_MEANS:
            half = one_hot(right, view.classes) + one_hot(rival, view.classes)
            return view.saying(half / 2)
        truth, harm = columns_of(one_hot(right, view.classes)), unseen_harm(view)
        columns = self.trust * truth + np.sqrt(1 - self.trust**2) * harm
        columns -= columns.mean(axis=1, keepdims=True)
        usual = np.percentile(np.linalg.norm(columns, axis=1), 75)
        moves = columns * (self.length * view.usual_length / max(float(usual), 1e-12))
        return view.saying(view.having_moved(moves))


def unseen_harm(view: LabelView) -> Float64Array:
    """The columns [rows, classes] of length 1 that do most harm and are orthogonal to those of the labels."""
    right, rival = view.rivals
    rows = np.arange(view.rows)
    margin = view.leaning[rows, right] - view.leaning[rows, rival]
    near = np.exp(-np.maximum(margin, 0) / max(float(np.median(np.abs(margin))), 1e-9))
    truth, harm = columns_of(one_hot(right, view.classes)), columns_of(near[:, None] * view.harm)
    return columns_of(harm - truth * (harm * truth).sum(axis=0))


def columns_of(values: Float64Array) -> Float64Array:
    """The columns of values [rows, classes], less their means, at length 1; 0 where nothing is left."""
    centred = values - values.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=0)
    columns: Float64Array = centred / np.where(lengths > 1e-12, lengths, 1)
    return columns
