"""A cache language model: how often this device's owner writes which word after which.

Kuhn and De Mori (1990), "A cache-based natural language model for speech recognition": people say again what
they have said. No step of training: counts of the device's own text, of words that the student's list lacks,
too, interpolated as Witten and Bell (1991) do. Where n(h) words followed a history h, t(h) different ones,

    p(w | h) = (c(h, w) + t(h) p(w | h')) / (n(h) + t(h))        p(w) = c(w) / n

with histories h of two words, of the last one (h'), and of none. The counts are made of the private store
when the agent starts and go with what is forgotten there; they are in no message to anyone but the device's
own apps.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from fedstill_proto.text.vocabulary import START, UNKNOWN, WORD_LIMIT, WordList, is_word, split

ORDERS = 3  # unigrams, bigrams, trigrams


class UserNgrams:
    """Counts of own words; those that the list lacks have the numbers from len(word_list) on."""

    def __init__(self, word_list: WordList) -> None:
        self.word_list = word_list
        self.texts = 0
        self.new_words: list[str] = []  # the word of number len(word_list) + its place
        self._new_numbers: dict[str, int] = {}
        self._following: dict[tuple[int, ...], dict[int, int]] = {}  # after a history, how often which word

    def add(self, text: str) -> None:
        """Count what was typed."""
        self.texts += 1
        numbers = [START, START, *(self._learned(token) for token in split(text))]
        for place, word in enumerate(numbers[2:], 2):
            if word == UNKNOWN:
                continue
            for length in range(ORDERS):
                history = tuple(numbers[place - length : place])
                following = self._following.setdefault(history, {})
                following[word] = following.get(word, 0) + 1

    def number(self, token: str) -> int:
        """The number of a word or mark, of a new word too; UNKNOWN for one that was never typed."""
        listed = self.word_list.number(token)
        return self._new_numbers.get(token, UNKNOWN) if listed is None else listed

    def numbers(self, text: str) -> list[int]:
        return [self.number(token) for token in split(text)]

    def times(self, number: int) -> int:
        """How often a word was typed."""
        return self._following.get((), {}).get(number, 0)

    def next_words(self, context: Sequence[int]) -> tuple[int, npt.NDArray[np.float64]]:
        """What follows in the device's own text, and how much of the context was seen there.

        Chances [len(word_list) + new words] that sum to 1, or to 0 where nothing was typed; and 0 for that, 1
        for words anywhere, 2 where the last word is known, 3 where the last two are.
        """
        last = [START, START, *context]
        chances = np.zeros(len(self.word_list) + len(self.new_words))
        for length in range(ORDERS):
            following = self._following.get(tuple(last[len(last) - length :]))
            if following is None:
                return length, chances
            words = np.fromiter(following, np.int64, len(following))
            counts = np.fromiter(following.values(), np.float64, len(following))
            different = len(words) if length else 0
            chances *= different / (counts.sum() + different)
            chances[words] += counts / (counts.sum() + different)
        return ORDERS, chances

    def _learned(self, token: str) -> int:
        number = self.number(token)
        if number == UNKNOWN and is_word(token) and len(token) <= WORD_LIMIT:
            number = len(self.word_list) + len(self.new_words)
            self.new_words.append(token)
            self._new_numbers[token] = number
        return number
