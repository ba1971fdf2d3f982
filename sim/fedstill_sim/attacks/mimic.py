"""All adversaries repeat one honest device (the mimic attack: Karimireddy et al. 2022, arXiv 2006.09365).

Nothing that they say is false, and no fold that looks for what is false can see it: one device just counts
many times, and where devices' data differ, the others are outvoted. They repeat the device that is farthest
along the direction in which honest answers differ most.
"""

from __future__ import annotations

import numpy as np
from fedstill_proto.arrays import Float64Array

from fedstill_sim.attacks.answers import LabelAnswers, ParameterAnswers
from fedstill_sim.attacks.interface import Attack, LabelView, ParameterView


class Mimic(Attack):
    line = "all repeat the honest device that differs most from the rest (arXiv 2006.09365)"

    def soft_labels(self, view: LabelView) -> LabelAnswers:
        followed = farthest(view.moved.reshape(len(view.honest), -1))
        rows = view.honest.said[followed]
        said = view.own.saying(view.honest.probabilities[followed])
        return LabelAnswers(
            probabilities=said.probabilities,
            said=np.broadcast_to(rows, said.said.shape).copy(),
            counts=np.broadcast_to(view.honest.counts[followed], said.counts.shape).copy(),
        )

    def parameters(self, view: ParameterView) -> ParameterAnswers:
        followed = farthest(view.moved)
        said = view.own.saying(view.honest.parameters[followed])
        examples = np.full(len(view.own), view.honest.examples[followed])
        return ParameterAnswers(parameters=said.parameters, examples=examples)


def farthest(answers: Float64Array) -> int:
    """Which of the answers [n, d] is farthest from their mean along their first principal direction."""
    spread = answers - answers.mean(axis=0)
    # The first left singular vector: of n x n, since n is small and d is not.
    values, vectors = np.linalg.eigh(spread @ spread.T)
    return int(np.abs(vectors[:, -1] * np.sqrt(max(values[-1], 0.0))).argmax())
