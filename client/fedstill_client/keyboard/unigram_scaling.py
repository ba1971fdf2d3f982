"""How much oftener this device's owner uses each word of the list than the student expects.

Dynamic marginals (Kneser, Peters and Klakow 1997, "Language model adaptation using dynamic marginals"): what
the student says is rescaled so that its words become about as frequent as they are in the device's own text,

    p(w | h) ~ p_student(w | h) ((c(w) + NOTHING_SEEN) / (e(w) + NOTHING_SEEN)) ^ 1/2
    e(w) = sum_i p_student(w | h_i)

where c(w) counts a word in the device's text, and the sum is over the places h_i of the same text. Counts of
own words that are mixed in (own_words.py) bring up what the student never thought of; this brings up "thou"
before "you" wherever either fits, for whoever says so. A student that has learned the text expects what is
there: e nears c, and nothing is counted twice.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

NOTHING_SEEN = 2.0


class UnigramAdaptation:
    """Counts of words, and what one student expected at the same places; both [words]."""

    def __init__(self, words: int) -> None:
        self.counted = np.zeros(words)
        self.expected = np.zeros(words)

    def add(self, number: int, expected: npt.NDArray[np.floating[Any]]) -> None:
        """Count a word, before which the student said `expected` [words]."""
        self.counted[number] += 1
        self.expected += expected

    def factors(self, more: UnigramAdaptation | None = None) -> npt.NDArray[np.float64]:
        """By how much each word's chance is multiplied, before all are made to sum to 1: [words], above 0.

        more: of other texts.
        """
        counted, expected = self.counted + NOTHING_SEEN, self.expected + NOTHING_SEEN
        if more is not None:
            counted, expected = counted + more.counted, expected + more.expected
        return np.asarray(np.sqrt(counted / expected))


def rescaled(
    said: npt.NDArray[np.floating[Any]], factors: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """What a student says [words], with these marginals; they sum to 1."""
    scaled: npt.NDArray[np.float64] = said * factors
    total = scaled.sum()
    return scaled / total if total > 0 else scaled
