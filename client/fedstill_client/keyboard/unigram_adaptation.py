"""Unigram adaptation: how much more often this device's owner uses each listed word than the student expects.

Dynamic marginals (Kneser, Peters and Klakow 1997, "Language model adaptation using dynamic marginals")
rescale the student's probabilities so that its words become about as frequent as they are in the device's own
text,

    p(w | h) ~ p_student(w | h) ((c(w) + SMOOTHING) / (e(w) + SMOOTHING)) ^ 1/2
    e(w) = sum_i p_student(w | h_i)

where c(w) counts a word in the device's text, and the sum is over the places h_i of the same text. The counts
of user_ngrams.py bring up what the student never thought of; this brings up "thou" before "you" wherever
either fits, for whoever says so. A student that has learned the text expects what is there: e nears c, and
nothing is counted twice.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

SMOOTHING = 2.0


class UnigramAdaptation:
    """Counts of words, and the counts that one student expected at the same places; both [words]."""

    def __init__(self, words: int) -> None:
        self.counts = np.zeros(words)
        self.expected = np.zeros(words)

    def add(self, word: int, probabilities: npt.NDArray[np.floating[Any]]) -> None:
        """Count a word, before which the student predicted `probabilities` [words]."""
        self.counts[word] += 1
        self.expected += probabilities

    def factors(self, others: UnigramAdaptation | None = None) -> npt.NDArray[np.float64]:
        """The factor [words], above 0, of each word's probability before all are made to sum to 1.

        Args:
            others: The counts of other texts, which are added to these.
        """
        counts, expected = self.counts + SMOOTHING, self.expected + SMOOTHING
        if others is not None:
            counts, expected = counts + others.counts, expected + others.expected
        return np.asarray(np.sqrt(counts / expected))


def rescaled(
    probabilities: npt.NDArray[np.floating[Any]], factors: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """The student's probabilities [words], times the factors [words] and normalized."""
    scaled: npt.NDArray[np.float64] = probabilities * factors
    total = scaled.sum()
    return scaled / total if total > 0 else scaled
