"""The user's own n-grams: how often this device's owner writes which word after which.

Kuhn and De Mori (1990), "A cache-based natural language model for speech recognition": people say again what
they have said. Nothing is trained: the device's own text is counted, words that the student's list lacks
included, and the counts are interpolated as Witten and Bell (1991) do. Where n(h) words followed a history h,
t(h) different ones,

    p(w | h) = (c(h, w) + t(h) p(w | h')) / (n(h) + t(h))        p(w) = c(w) / n

with histories h of two words, of the last one (h'), and of none. The counts are made from the private store
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
    """Counts of what was typed; words that the list lacks have the numbers from len(word_list) on."""

    def __init__(self, word_list: WordList) -> None:
        self.word_list = word_list
        self.texts = 0
        self.new_words: list[str] = []  # the word of number len(word_list) + its place
        self._new_numbers: dict[str, int] = {}
        self._counts: dict[tuple[int, ...], dict[int, int]] = {}  # after a history, how often which word

    def add(self, text: str) -> None:
        """Count a text that was typed."""
        self.texts += 1
        numbers = [START, START, *(self._learn(token) for token in split(text))]
        for place, word in enumerate(numbers[2:], 2):
            if word == UNKNOWN:
                continue
            for length in range(ORDERS):
                history = tuple(numbers[place - length : place])
                following = self._counts.setdefault(history, {})
                following[word] = following.get(word, 0) + 1

    def number(self, token: str) -> int:
        """The number of a word or mark, of a new word too; UNKNOWN for one that was never typed."""
        listed = self.word_list.number(token)
        return self._new_numbers.get(token, UNKNOWN) if listed is None else listed

    def numbers(self, text: str) -> list[int]:
        """The numbers of a text's words and marks."""
        return [self.number(token) for token in split(text)]

    def count(self, number: int) -> int:
        """How often a word was typed."""
        return self._counts.get((), {}).get(number, 0)

    def next_words(self, context: Sequence[int]) -> tuple[int, npt.NDArray[np.float64]]:
        """Predict the next word from the device's own text.

        Returns:
            How much of the context was seen there (0: nothing was typed, 1: words anywhere, 2: the last word,
            3: the last two), and probabilities [len(word_list) + new words] that sum to 1, or to 0 where
            nothing was typed.
        """
        last = [START, START, *context]
        probabilities = np.zeros(len(self.word_list) + len(self.new_words))
        for length in range(ORDERS):
            following = self._counts.get(tuple(last[len(last) - length :]))
            if following is None:
                return length, probabilities
            words = np.fromiter(following, np.int64, len(following))
            counts = np.fromiter(following.values(), np.float64, len(following))
            different = len(words) if length else 0
            probabilities *= different / (counts.sum() + different)
            probabilities[words] += counts / (counts.sum() + different)
        return ORDERS, probabilities

    def _learn(self, token: str) -> int:
        """The number of a token, which becomes a new word where it is one."""
        number = self.number(token)
        if number == UNKNOWN and is_word(token) and len(token) <= WORD_LIMIT:
            number = len(self.word_list) + len(self.new_words)
            self.new_words.append(token)
            self._new_numbers[token] = number
        return number
