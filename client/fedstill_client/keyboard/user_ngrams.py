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

import functools
import re
import unicodedata
from collections.abc import Callable, Collection, Sequence

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import IntArray
from fedstill_proto.package.constraints.suppressor import NOTHING_SUPPRESSED, Suppressor
from fedstill_proto.text.lexicon import Lexicon
from fedstill_proto.text.vocabulary import START, UNKNOWN, WORD_LIMIT, WordList, is_word, normal, split

from fedstill_client.keyboard.alphabet import Alphabet
from fedstill_client.keyboard.casing import OwnCasing

_LONG_NUMBER = re.compile(r"\d{4}")
_ONE_LETTER_WORDS = frozenset("aiouyeàáéèíóúýйавзикоусяєії")
IMPORTED_FORMS = 3  # times that the form of an imported word counts
IMPORTED_SHARE, IMPORTED_MOST = 1e-4, 0.02  # of the probability, for an imported word and for all of them
ORDERS = 3  # unigrams, bigrams, trigrams
_DOUBTED_AT_ONCE = 100  # new words: a millisecond each
_ROOM = 64  # new words that the counts have room for, beside as many as there are
_OFTEN = 4  # classes of how often a history was typed: once, 2 to 3, 4 to 7 times, and more often
HISTORY_CLASSES = 2 + (ORDERS - 1) * _OFTEN


class UserNgrams:
    """Counts of what was typed.

    Args:
        word_list: The words that the student knows, 0 to V - 1.
        lexicon: Its dictionary has the words V to V + D - 1; without one, D is 0.
        blocked: Keys of words that are never suggested.
        suppressor: What the package suppresses; its words are neither counted nor suggested.

    Attributes:
        listed: V + D; words that neither has are numbered from here on.
        casing: How the owner writes words.
        new_words: Those words, the word of number listed + its place.
    """

    def __init__(
        self,
        word_list: WordList,
        lexicon: Lexicon | None = None,
        *,
        blocked: Collection[str] = (),
        suppressor: Suppressor = NOTHING_SUPPRESSED,
    ) -> None:
        self.word_list, self.lexicon, self.suppressor = word_list, lexicon, suppressor
        self.listed = len(word_list) if lexicon is None else lexicon.words
        self.casing = OwnCasing()
        self.texts = 0
        self.new_words: list[str] = []
        self._new_numbers: dict[str, int] = {}
        self.imported: dict[int, None] = {}  # numbers of the owner's words that a personal dictionary has
        self._blocked = frozenset(blocked)
        self._alphabet = _suggestable(word_list, lexicon, self._blocked, suppressor)
        self._waiting: set[int] = set()  # new words that are not in the alphabet as yet
        self._doubted: dict[int, bool] = {}  # whether one that was typed once may be a typing error
        self._counts: dict[tuple[int, ...], dict[int, int]] = {}  # after a history, how often which word
        self._times = np.zeros(self.listed)  # how often each word, with room for new ones
        self._total = 0  # their sum

    def add(self, text: str) -> None:
        """Count a text that was typed."""
        self.texts += 1
        self.casing.add(text)
        numbers = [START, START, *(self._learn(token) for token in split(text))]
        self._make_room()
        for place, word in enumerate(numbers[2:], 2):
            if word == UNKNOWN:
                continue
            self._times[word] += 1
            self._total += 1
            for length in range(1, ORDERS):
                history = tuple(numbers[place - length : place])
                following = self._counts.setdefault(history, {})
                following[word] = following.get(word, 0) + 1

    def remove(self, text: str) -> None:
        """Count a text no more that was added; its new words keep their numbers."""
        numbers = [START, START, *self.numbers(text)]
        for place, word in enumerate(numbers[2:], 2):
            if word == UNKNOWN or not self._times[word]:
                continue
            self._times[word] -= 1
            self._total -= 1
            for length in range(1, ORDERS):
                history = tuple(numbers[place - length : place])
                following = self._counts.get(history, {})
                if following.get(word, 0) > 1:
                    following[word] -= 1
                elif following.pop(word, None) is not None and not following:
                    del self._counts[history]

    def add_imported(self, word: str) -> None:
        """Take in a word of the owner's personal dictionary, as it is written: it may be suggested now."""
        for _ in range(IMPORTED_FORMS):
            self.casing.add(f"a {word}")  # within a sentence
        number = self._learn(normal(word))
        if number >= self.listed:
            self.imported[number] = None

    def with_imported(self, probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Probabilities [listed + new words], with a small share for the words that were imported."""
        if self.imported:
            share = min(IMPORTED_MOST, IMPORTED_SHARE * len(self.imported))
            probabilities *= 1 - share
            probabilities[np.fromiter(self.imported, np.int64, len(self.imported))] += share / len(
                self.imported
            )
        return probabilities

    def is_meant(self, number: int, times: int) -> bool:
        """Whether a word was typed so often, or imported: it is no typing error."""
        return number in self.imported or self.count(number) >= times

    def are_meant(self, numbers: IntArray, times: int) -> npt.NDArray[np.bool_]:
        """The same of many words [n]."""
        self._make_room()
        meant = self._times[numbers] >= times
        return meant | np.isin(numbers, list(self.imported)) if self.imported else meant

    def alphabet(
        self, least: int, *, doubtful: Callable[[Alphabet, str], bool] = lambda listed, word: True
    ) -> Alphabet:
        """The words that may be suggested: those of the list, the dictionary, and new ones.

        Args:
            least: How often a new word was typed that is doubtful.
            doubtful: doubtful(alphabet, word) says whether a new word may be a typing error for another one;
                of many words, the latest are asked about, and others with later texts.
        """
        asked = [number for number in self._waiting if number not in self._doubted and self.count(number)]
        for number in sorted(asked)[-_DOUBTED_AT_ONCE:]:
            self._doubted[number] = doubtful(self._alphabet, self.new_words[number - self.listed])
        fresh = [number for number in sorted(self._waiting) if self._is_clear(number, least)]
        if fresh:
            self._waiting.difference_update(fresh)
            self._alphabet = self._alphabet.with_words(
                (number, self.new_words[number - self.listed]) for number in fresh
            )
        return self._alphabet

    def _is_clear(self, number: int, least: int) -> bool:
        """Whether a new word was typed, and is hardly an error."""
        clear = not self._doubted.get(number, True) and self.count(number) > 0
        return clear or self.is_meant(number, least)

    def number(self, token: str) -> int:
        """The number of a word or mark, of a new word too; UNKNOWN for one that was never typed."""
        listed = self.word_list.number(token)
        if listed is None and self.lexicon is not None:
            listed = self.lexicon.number(token)
        return self._new_numbers.get(token, UNKNOWN) if listed is None else listed

    def numbers(self, text: str) -> list[int]:
        """The numbers of a text's words and marks."""
        return [self.number(token) for token in split(text)]

    def count(self, number: int) -> int:
        """How often a word was typed."""
        return int(self._times[number]) if number < len(self._times) else 0

    def next_words(self, context: Sequence[int]) -> tuple[int, npt.NDArray[np.float64]]:
        """Predict the next word from the device's own text.

        Returns:
            The class of the longest history that was typed (0: nothing was, 1: words anywhere, 2 to 5: the
            last word, once to often, 6 to 9: the last two), and probabilities [listed + new words] that sum
            to 1, or to 0 where nothing was typed.
        """
        last = [START, START, *context]
        size = self.listed + len(self.new_words)
        if not self._total:
            return 0, np.zeros(size)
        self._make_room()
        probabilities = self._times[:size] / self._total
        history_class = 1
        for length in range(1, ORDERS):
            following = self._counts.get(tuple(last[len(last) - length :]))
            if following is None:
                break
            words = np.fromiter(following, np.int64, len(following))
            counts = np.fromiter(following.values(), np.float64, len(following))
            total, different = int(counts.sum()), len(words)
            probabilities *= different / (total + different)
            probabilities[words] += counts / (total + different)
            often = min(total.bit_length(), _OFTEN)
            history_class = 1 + often + (length - 1) * _OFTEN
        return history_class, probabilities

    def _make_room(self) -> None:
        """For the counts of all new words."""
        size = self.listed + len(self.new_words)
        if size > len(self._times):
            larger = np.zeros(size + len(self.new_words) + _ROOM)
            larger[: len(self._times)] = self._times
            self._times = larger

    def _learn(self, token: str) -> int:
        """The number of a token, which becomes a new word where it is one."""
        number = self.number(token)
        if token in self._blocked or self.suppressor.word(token):
            return UNKNOWN
        if number == UNKNOWN and is_word(token) and len(token) <= WORD_LIMIT:
            number = self.listed + len(self.new_words)
            self.new_words.append(token)
            self._new_numbers[token] = number
            self._waiting.add(number)
        return number


@functools.lru_cache(maxsize=4)
def _suggestable(
    word_list: WordList, lexicon: Lexicon | None, blocked: frozenset[str], suppressor: Suppressor
) -> Alphabet:
    """The words of list and dictionary that stand alone: single letters are there to spell others with.

    Blocked and suppressed words are none of them, nor are numbers of four digits, whoever wrote them in
    public.
    """
    if lexicon is None:
        entries = [entry for entry in word_list.words if not _is_a_letter(entry[1])]
    else:
        entries = [*word_list.words, *enumerate(lexicon.dictionary, lexicon.listed)]
        entries = [entry for entry in entries if lexicon.stands_alone(entry[0])]
    return Alphabet(
        (number, word)
        for number, word in entries
        if word not in blocked and not _LONG_NUMBER.search(word) and not suppressor.word(word)
    )


def _is_a_letter(word: str) -> bool:
    """Whether a word is a letter of an alphabet that is no word by itself in any usual language."""
    return len(word) == 1 and unicodedata.category(word) == "Ll" and word not in _ONE_LETTER_WORDS
