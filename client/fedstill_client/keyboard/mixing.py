"""How much a device's own text says about its next word, chosen on texts of its own that were set aside.

Linear interpolation with weights by expectation maximization (Jelinek and Mercer 1980, "Interpolated
estimation of Markov source parameters from sparse data"), a row of weights for each length of the longest
history that was seen before:

    p(w | h) = sum_m weight_m p_m(w | h)        m: the student, own unigrams, own bigrams, own trigrams
    weight_m <- (prior_m + sum_i r_im) / (1 + ...),   r_im = weight_m p_m(w_i | h_i) / p(w_i | h_i)

The prior counts like PRIOR_WORDS words, so that a device with little text does as others do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedstill_client.keyboard.own_words import ORDERS

PRIOR_WORDS = 30.0
_ITERATIONS = 30
# From the longest history that was seen to (student, unigrams, bigrams, trigrams).
_PRIOR = np.array(
    [
        [1.0, 0.0, 0.0, 0.0],
        [0.95, 0.05, 0.0, 0.0],
        [0.85, 0.05, 0.1, 0.0],
        [0.75, 0.05, 0.1, 0.1],
    ]
)
Weights = npt.NDArray[np.float64]  # [ORDERS + 1 histories, ORDERS + 1 sources]


def usual_weights() -> Weights:
    """Those of a device that has set nothing aside."""
    return _PRIOR.copy()


@dataclass
class Evidence:
    """What each source gave to words that were typed: rows of probabilities by history."""

    rows: list[list[list[float]]]

    @classmethod
    def empty(cls) -> Evidence:
        return cls([[] for _ in range(ORDERS + 1)])

    def add(self, seen: int, chances: list[float]) -> None:
        """A word whose longest seen history was `seen`; chances [1 + seen] of the student and own counts."""
        if any(chances):
            self.rows[seen].append(chances + [0.0] * (ORDERS + 1 - len(chances)))

    def weights(self) -> Weights:
        """The most likely weights, with the prior."""
        weights = usual_weights()
        for seen, rows in enumerate(self.rows):
            if not rows or seen == 0:
                continue
            chances, row = np.array(rows), weights[seen]
            for _ in range(_ITERATIONS):
                shares = chances * row
                total = shares.sum(axis=1, keepdims=True)
                shares /= np.maximum(total, 1e-300)
                row = (PRIOR_WORDS * _PRIOR[seen] + shares.sum(axis=0)) / (PRIOR_WORDS + len(rows))
            weights[seen] = row
        return weights
