"""How much oftener this device's owner uses each word of the list than the student expects.

Dynamic marginals (Kneser, Peters and Klakow 1997, "Language model adaptation using dynamic marginals"): what
the student says is rescaled so that its words become about as frequent as they are in the device's own text,

    p(w | h) ~ p_student(w | h) ((c(w) + NOTHING_SEEN) / (e(w) + NOTHING_SEEN)) ^ STRENGTH
    e(w) = sum_i p_student(w | h_i)

where c(w) counts a word in the device's text, and the sum is over the places h_i of the same text. Counts of
own words that are mixed in (own_words.py) bring up what the student never thought of; this brings up "thou"
before "you" wherever either fits, for whoever says so. A student that has learned the text expects what is
there: e nears c, and nothing is counted twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

STRENGTH, NOTHING_SEEN = 0.5, 2.0


class OwnMarginals:
    """Counts of a device's own words, and what one student expected at the same places."""

    def __init__(self, words: int) -> None:
        self._counted = np.zeros(words)
        self._expected = np.zeros(words)
        self._factors: npt.NDArray[np.float64] | None = None

    def add(self, typed: Iterable[tuple[int | None, npt.NDArray[np.floating[Any]]]]) -> None:
        """Count words, each given with what the student said [words] before it.

        A word that the list lacks (None) is no evidence: the student could not expect it.
        """
        for number, expected in typed:
            if number is not None:
                self._counted[number] += 1
                self._expected += expected
        self._factors = None

    def factors(self) -> npt.NDArray[np.float64]:
        """By how much each word's chance is multiplied, before all are made to sum to 1: [words], above 0."""
        if self._factors is None:
            ratio = (self._counted + NOTHING_SEEN) / (self._expected + NOTHING_SEEN)
            self._factors = ratio**STRENGTH
        return self._factors

    def rescaled(self, chances: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
        """What a student says [words], with these marginals."""
        scaled: npt.NDArray[np.float64] = chances * self.factors()
        total = scaled.sum()
        return scaled / total if total > 0 else scaled
