"""How much a device's own text says about its next word, chosen on texts of its own that were set aside.

Linear interpolation with weights by expectation maximization (Jelinek and Mercer 1980, "Interpolated
estimation of Markov source parameters from sparse data"), one weight for each length of the longest history
that was seen before:

    p(w | h) = (1 - weight) p_student(w | h) + weight p_own(w | h)
    weight <- (PRIOR_WORDS PRIOR + sum_i r_i) / (PRIOR_WORDS + n)
    r_i = weight p_own(w_i | h_i) / p(w_i | h_i)

A device with little text stays near the prior, as others are.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fedstill_client.keyboard.user_ngrams import ORDERS

PRIOR, PRIOR_WORDS = 0.03, 30.0
_ITERATIONS = 30
Weights = npt.NDArray[np.float64]  # [ORDERS + 1], of the own words by how much of the history was seen


def default_weights() -> Weights:
    """Those of a device that has set nothing aside."""
    weights = np.full(ORDERS + 1, PRIOR)
    weights[0] = 0.0  # it has typed nothing
    return weights


class Evidence:
    """What the student and the own counts gave to words that were typed."""

    def __init__(self) -> None:
        self._chances: list[list[tuple[float, float]]] = [[] for _ in range(ORDERS + 1)]

    def add(self, seen: int, *, student: float, own: float) -> None:
        """The chances of a word before which the history was seen so far."""
        if student or own:
            self._chances[seen].append((student, own))

    def weights(self) -> Weights:
        """The most likely weights, with the prior."""
        weights = default_weights()
        for seen, chances in enumerate(self._chances[1:], 1):
            if not chances:
                continue
            student, own = np.array(chances).T
            for _ in range(_ITERATIONS):
                part = weights[seen] * own
                share = part / ((1 - weights[seen]) * student + part)
                weights[seen] = (PRIOR_WORDS * PRIOR + share.sum()) / (PRIOR_WORDS + len(share))
        return weights
