"""How much the owner's own n-grams count beside the prediction, chosen on texts that are held out.

Linear interpolation with weights by expectation maximization (Jelinek and Mercer 1980, "Interpolated
estimation of Markov source parameters from sparse data"), one weight for each class of histories: how long
the longest one is that the owner has typed, and how often,

    p(w | h) = (1 - weight) p_student(w | h) + weight p_ngrams(w | h)
    weight <- (PRIOR_WORDS prior + sum_i r_i) / (PRIOR_WORDS + n)
    r_i = weight p_ngrams(w_i | h_i) / p(w_i | h_i)

A device with little text stays near the prior, as others are: the weights of all of 32 writers together.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fedstill_client.keyboard.user_ngrams import HISTORY_CLASSES

PRIOR_WORDS = 60.0
_ITERATIONS = 30
Weights = npt.NDArray[np.float64]  # [HISTORY_CLASSES], of the n-grams by the class of the history

# Nothing typed; words anywhere; the last word typed 1, 2 to 3, 4 to 7 times, more often; so the last two.
_PRIOR = (0.0, 0.01, 0.03, 0.03, 0.03, 0.02, 0.17, 0.13, 0.11, 0.29)


def default_weights() -> Weights:
    """The weights of a device that has held nothing out."""
    return np.array(_PRIOR)


class Evidence:
    """The probabilities that the student and the n-grams gave to words that were typed."""

    def __init__(self) -> None:
        self._pairs: list[list[tuple[float, float]]] = [[] for _ in range(HISTORY_CLASSES)]

    def add(self, seen: int, *, student: float, ngrams: float) -> None:
        """Take in the two probabilities of a word, before which there was a history of a class."""
        if student or ngrams:
            self._pairs[seen].append((student, ngrams))

    def weights(self) -> Weights:
        """The most likely weights, with the prior."""
        weights = default_weights()
        for seen, pairs in enumerate(self._pairs[1:], 1):
            if not pairs:
                continue
            student, ngrams = np.array(pairs).T
            prior = weights[seen]
            for _ in range(_ITERATIONS):
                part = weights[seen] * ngrams
                share = part / ((1 - weights[seen]) * student + part)
                weights[seen] = (PRIOR_WORDS * prior + share.sum()) / (PRIOR_WORDS + len(share))
        return weights
