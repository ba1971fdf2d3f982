"""The words that may be suggested, in the order of the alphabet: those that begin alike stand together."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

import numpy as np
from fedstill_proto.arrays import IntArray

_LAST = "\U0010ffff"


class Alphabet:
    """Words and their numbers. What is added later is put in its place, and nothing is sorted again."""

    def __init__(self, words: Iterable[tuple[int, str]]) -> None:
        ordered = sorted((word, number) for number, word in words)
        self.words = [word for word, _ in ordered]
        self.numbers: IntArray = np.array([number for _, number in ordered], np.int64)

    def __len__(self) -> int:
        return len(self.words)

    def with_words(self, words: Iterable[tuple[int, str]]) -> Alphabet:
        """The same with other words, too; this one stays as it is."""
        added = sorted((word, number) for number, word in words)
        larger = Alphabet(())
        larger.words, places = list(self.words), []
        for shift, (word, _) in enumerate(added):
            places.append(bisect_left(self.words, word))
            larger.words.insert(places[-1] + shift, word)
        larger.numbers = np.insert(self.numbers, places, [number for _, number in added])
        return larger

    def place(self, word: str) -> int | None:
        """Where a word stands; None where it is not among them."""
        at = bisect_left(self.words, word)
        return at if at < len(self.words) and self.words[at] == word else None

    def with_prefix(self, prefix: str) -> slice:
        """The places of the words that begin so."""
        start = bisect_left(self.words, prefix)
        return slice(start, bisect_left(self.words, prefix + _LAST, start) if prefix else len(self.words))
