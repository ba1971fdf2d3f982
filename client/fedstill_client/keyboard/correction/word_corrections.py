"""Corrections among the words of a keyboard: those of its lists, and those that its owner typed.

The search tree of the lists is made once, when the first letters are typed; the one of the owner's words,
which are few, is made anew when these change. A word of the owner's own may be a typing error that was made
more than once: where a word of the lists is one error away, that is the likelier one, until the owner has
typed the other so often that it is meant.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import IntArray

from fedstill_client.keyboard.correction.corrector import MIN_LETTERS, Corrector, Meant
from fedstill_client.keyboard.correction.layouts import KeyboardLayout
from fedstill_client.keyboard.correction.letters import base

SHORT, FREQUENT_SHORT, FREQUENT = 4, 1e-4, 1e-5  # letters, and shares of all words
TWO_EDITS_FROM = 8  # letters of a word of the owner's that may have two errors
MEANT_TIMES = 10
"""A word that the owner typed so often is meant, however much it looks like one of the lists."""


@dataclass(frozen=True)
class _Part:
    """Some of the words, and where they stand among all."""

    words: list[str]
    places: IntArray
    corrector: Corrector

    def meant(self, typed: str, layout: KeyboardLayout, *, edits: int | None = None) -> Meant:
        found = self.corrector.meant(typed, layout, edits=edits)
        return replace(found, places=self.places[found.places])


class WordCorrections:
    """Finds what letters were meant to be; keeps its search trees from one call to the next."""

    def __init__(self) -> None:
        self._words: Sequence[str] | None = None
        self._listed: _Part | None = None
        self._own: _Part | None = None
        self._rivals: dict[str, tuple[str, ...]] = {}  # the whole words one error away from one

    def meant(
        self, words: Sequence[str], own: npt.NDArray[np.bool_], typed: str, layout: KeyboardLayout
    ) -> Meant:
        """The words that `typed` may be the beginning of, their places among `words`.

        Args:
            words: All words that may be suggested, in the alphabet's order.
            own: Which of them are the owner's own [words].
            typed: Letters in lower case.
            layout: The keyboard that they were typed on.
        """
        listed, owned = self._parts(words, own)
        found, others = listed.meant(typed, layout), owned.meant(typed, layout)
        places = np.concatenate([found.places, others.places])
        order = np.argsort(places)
        return Meant(
            places[order],
            np.concatenate([found.likelihoods, others.likelihoods])[order],
            np.concatenate([found.edits, others.edits])[order],
            np.concatenate([found.whole, others.whole])[order],
        )

    def rivals(self, word: str, layout: KeyboardLayout, *, frequency: Callable[[int], float]) -> list[int]:
        """The places of the words of the lists that `word`, an own one, may be an error for.

        Args:
            word: A word of the owner's; `meant` has been asked before.
            layout: The keyboard that it was typed on.
            frequency: How frequent the word of a place is.
        """
        if self._listed is None or self._words is None or len(word) < MIN_LETTERS:
            return []
        if word not in self._rivals:
            found = self._listed.meant(word, layout, edits=2 if len(word) >= TWO_EDITS_FROM else 1)
            others = [self._words[place] for place in found.places[found.whole].tolist()]
            self._rivals[word] = tuple(other for other in others if _may_be_error(word, other))
        places = [bisect_left(self._words, other) for other in self._rivals[word]]
        return [place for place in places if frequency(place) >= _least_frequency(word)]

    def may_be_error(
        self,
        words: Sequence[str],
        own: npt.NDArray[np.bool_],
        word: str,
        layout: KeyboardLayout,
        *,
        frequency: Callable[[str], float],
    ) -> bool:
        """Whether a word that was typed once may be an error: short ones, too, if a frequent one is near.

        Args:
            words: All words that may be suggested, without this one, in the alphabet's order.
            own: Which of them are the owner's own [words].
            word: The new one.
            layout: The keyboard that it was typed on.
            frequency: How frequent a word of the lists is.
        """
        if len(word) < MIN_LETTERS:
            return True
        listed, _ = self._parts(words, own)
        found = listed.corrector.meant(word, layout, edits=2 if len(word) >= TWO_EDITS_FROM else 1)
        others = (listed.words[place] for place in found.places[found.whole].tolist())
        least = _least_frequency(word)
        return any(
            not (_accents(word) > _accents(other) or _is_ending(word, other)) and frequency(other) >= least
            for other in others
        )

    def _parts(self, words: Sequence[str], own: npt.NDArray[np.bool_]) -> tuple[_Part, _Part]:
        if self._words is not words or self._listed is None or self._own is None:
            listed = _renewed(self._listed, words, ~own)
            if self._listed is None or listed.words is not self._listed.words:
                self._rivals.clear()
            self._listed = listed
            self._own = _renewed(self._own, words, own)
            self._words = words
        return self._listed, self._own


def _renewed(part: _Part | None, words: Sequence[str], which: npt.NDArray[np.bool_]) -> _Part:
    """The part with these words, with the same search tree where they are the same."""
    chosen, places = list(compress(words, which.tolist())), np.flatnonzero(which)
    if part is not None and part.words == chosen:
        return _Part(part.words, places, part.corrector)
    return _Part(chosen, places, Corrector(chosen))


def _may_be_error(word: str, other: str) -> bool:
    """Whether an own word may be an error for one of the lists that is an error away.

    It is none if it has accents that the other lacks, which nobody types by mistake, and none if one is the
    other with an ending (a letter that is doubled at the end is an ending of no word). Short words, such
    as names, have too many others near them: these are errors only if accents are missing, letters are
    exchanged, or one of four is missing.
    """
    if _accents(word) > _accents(other):
        return False
    if _is_ending(word, other):
        return False
    if len(word) > SHORT or (len(word) == SHORT and len(other) > SHORT):
        return True
    return sorted(map(base, word)) == sorted(map(base, other))


def _is_ending(word: str, other: str) -> bool:
    """Whether one word is the other with an ending."""
    longer, shorter = (word, other) if len(word) > len(other) else (other, word)
    return longer.startswith(shorter) and longer[-2:] != longer[-1] * 2


def _least_frequency(word: str) -> float:
    """How frequent a word must be for `word` to be an error: more are near a short one by chance."""
    if len(word) <= SHORT:
        return FREQUENT_SHORT
    return FREQUENT if len(word) < TWO_EDITS_FROM else 0.0


def _accents(word: str) -> int:
    return sum(base(letter) != letter for letter in word)
