"""How much the owner's own n-grams count beside the student, chosen on texts that are held out.

Linear interpolation with weights by expectation maximization (Jelinek and Mercer 1980, "Interpolated
estimation of Markov source parameters from sparse data"), one weight for each length of the longest history
that was seen before:

    p(w | h) = (1 - weight) p_student(w | h) + weight p_ngrams(w | h)
    weight <- (PRIOR_WORDS PRIOR_WEIGHT + sum_i r_i) / (PRIOR_WORDS + n)
    r_i = weight p_ngrams(w_i | h_i) / p(w_i | h_i)

A device with little text stays near the prior, as others are.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fedstill_client.keyboard.user_ngrams import ORDERS

PRIOR_WEIGHT, PRIOR_WORDS = 0.03, 30.0
_ITERATIONS = 30
Weights = npt.NDArray[np.float64]  # [ORDERS + 1], of the n-grams by how much of the history was seen


def default_weights() -> Weights:
    """The weights of a device that has held nothing out."""
    weights = np.full(ORDERS + 1, PRIOR_WEIGHT)
    weights[0] = 0.0  # it has typed nothing
    return weights


class Evidence:
    """The probabilities that the student and the n-grams gave to words that were typed."""

    def __init__(self) -> None:
        self._pairs: list[list[tuple[float, float]]] = [[] for _ in range(ORDERS + 1)]

    def add(self, seen: int, *, student: float, ngrams: float) -> None:
        """Take in the two probabilities of a word, before which so much of the history was seen."""
        if student or ngrams:
            self._pairs[seen].append((student, ngrams))

    def weights(self) -> Weights:
        """The most likely weights, with the prior."""
        weights = default_weights()
        for seen, pairs in enumerate(self._pairs[1:], 1):
            if not pairs:
                continue
            student, ngrams = np.array(pairs).T
            for _ in range(_ITERATIONS):
                part = weights[seen] * ngrams
                share = part / ((1 - weights[seen]) * student + part)
                weights[seen] = (PRIOR_WORDS * PRIOR_WEIGHT + share.sum()) / (PRIOR_WORDS + len(share))
        return weights
