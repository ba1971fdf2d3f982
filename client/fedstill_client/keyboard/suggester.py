"""Suggestions: the next word, one that completes the letters that are typed, or what they were meant to be.

A student says how likely each word of its list is after the context. Words that the owner uses more often
than it expects become likelier, and those that were typed in places like this one (reading.py); the
device's own counts are mixed in (own_words.py, mixing.py). Of two words that begin as typed, the likelier
stands first; a word that begins one slip away has its own likelihood times the slip's (see slips.py). Of
the places behind two letters and more, one is for a word that the list lacks, if the device has typed it
SEAT_TIMES times.
"""

from __future__ import annotations

import threading
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import IntArray
from fedstill_proto.errors import InvalidValue
from fedstill_proto.text.vocabulary import START, UNKNOWN, WORD_LIMIT, WordList, normal, split

from fedstill_client.agent_types import Suggestion
from fedstill_client.keyboard.adaptation import Adaptation, DraftText, corrected
from fedstill_client.keyboard.interpolation import Evidence, Weights, default_weights
from fedstill_client.keyboard.typos import corrections
from fedstill_client.keyboard.user_ngrams import UserNgrams

MOST_SUGGESTIONS = 20
SUGGESTED_FROM = 2  # times that a new word was typed: once may be a slip
SEAT_TIMES, SEAT_LETTERS = 3, 2
_LAST = "\U0010ffff"
_FEW = 4  # tokens

Scores = npt.NDArray[np.float64]


class NextWordModel(Protocol):
    """A model of the words of a list: a student, or anything else that says what comes next."""

    def next_words(self, context: Sequence[int]) -> npt.NDArray[np.floating[Any]]:
        """Probabilities [V] of the word after the numbers of a context, which begins with START."""

    def along(self, text: Sequence[int]) -> Iterator[npt.NDArray[np.floating[Any]]]:
        """Those after each word of a text that begins with START, in order."""


@dataclass(frozen=True)
class _Asked:
    """The scores of the last context that was asked for."""

    context: str
    weights: Weights
    scores: Scores


class Suggester:
    """Suggests words to the owner of one device.

    reading: what the model made of the texts that `own` has counted; without one, it is taken as it is.
    """

    def __init__(
        self,
        own: UserNgrams,
        model: NextWordModel,
        *,
        reading: Adaptation | None = None,
        weights: Weights | None = None,
    ) -> None:
        self.own = own
        self._reading = reading
        self._open = DraftText(len(own.word_list))
        self._following = threading.Lock()  # other threads ask, too
        self.weights = default_weights() if weights is None else weights
        self._model = model
        self._asked: _Asked | None = None
        self._sorted: tuple[int, list[str], IntArray] | None = None

    @property
    def word_list(self) -> WordList:
        return self.own.word_list

    def observe(self, text: str) -> None:
        """Count what the owner typed, and let the student read it."""
        self._asked = None
        self.own.add(text)
        self.read(text)

    def read(self, text: str) -> None:
        """Let the student read what the owner typed, and `own` has counted."""
        if self._reading is None:
            return
        self._asked = None
        before = START
        for token, said in self.along(split(text)):
            typed = self.own.number(token)
            if typed != UNKNOWN:  # as what is too long to be a word is
                self._reading.add(before, typed, said)
            before = typed

    def suggest(self, context: str, prefix: str = "", k: int = 3) -> list[Suggestion]:
        """Up to k words, the likeliest first; raises InvalidValue.

        context: the text before the word. prefix: its letters so far, one word or none.
        """
        if not 1 <= k <= MOST_SUGGESTIONS:
            raise InvalidValue("k", f"{k}; ask for 1 to {MOST_SUGGESTIONS} suggestions")
        typed = _checked_prefix(prefix)
        scores = self.scores(context)
        words, _ = self._alphabet()
        if not typed:
            return [self._suggestion(at, float(scores[at]), "next", "") for at in self.shown(scores, "", k)]
        found = {at: (float(scores[at]), "completion") for at in self.shown(scores, typed, k)}
        least = min(chance for chance, _ in found.values()) if len(found) == k else 0.0
        for beginning, slip in corrections(typed).items():
            here = self.begins(beginning)
            if here.start == here.stop:
                continue  # as most of some hundreds are
            for at in _largest(scores[here], k):
                place, chance = here.start + at, float(scores[here][at]) * slip
                if chance > max(least, found.get(place, (0.0, ""))[0]) and not words[place].startswith(typed):
                    found[place] = (chance, "correction")
        chosen = sorted(found, key=lambda at: -found[at][0])[:k]
        seat = self._seat(scores, typed)
        if seat is not None and seat not in chosen:
            found[seat] = (float(scores[seat]), "completion")
            chosen = [*chosen[: k - 1], seat]
        return [self._suggestion(at, *found[at], prefix) for at in chosen]

    def scores(self, context: str) -> Scores:
        """Chances of all words that may be suggested, in the order of the alphabet; they sum to less than 1.

        Marks and pieces of words have their part in the student's answer, but no place here.
        """
        asked = self._asked  # as another thread may replace it
        if asked is not None and asked.context == context and asked.weights is self.weights:
            return asked.scores  # the letters of a word come one by one
        tokens = split(context)
        scores = self.by_alphabet(self.mixed(tokens, self._model.next_words(self._numbers(tokens))))
        self._asked = _Asked(context, self.weights, scores)
        return scores

    def by_alphabet(self, chances: Scores) -> Scores:
        """Of chances by number, those of the words that may be suggested."""
        return np.asarray(chances[self._alphabet()[1]])

    def mixed(self, tokens: Sequence[str], student: npt.NDArray[np.floating[Any]]) -> Scores:
        """Chances [V + new words] by number after tokens, of which a student says [V]; they sum to 1."""
        seen, chances = self._own_after(tokens)
        weight = self.weights[seen]
        chances *= weight
        chances += (1 - weight) * self._corrected(tokens, student)
        return chances

    def along(self, tokens: Sequence[str]) -> Iterator[tuple[str, npt.NDArray[np.floating[Any]]]]:
        """Each token of a text, and what the student says [V] before it."""
        after = self._model.along(self._numbers(tokens))
        for token in tokens:
            yield token, next(after)
            for _ in self.word_list.numbers_of(token)[1:]:
                next(after)  # within a word

    def shown(self, scores: Scores, typed: str, k: int) -> list[int]:
        """Places in `scores` of the k words that are shown once `typed` is there, the likeliest first."""
        here = self.begins(typed)
        best = [here.start + at for at in _largest(scores[here], k)]
        seat = self._seat(scores, typed)
        return best if seat is None or seat in best else [*best[: k - 1], seat]

    def begins(self, typed: str) -> slice:
        """The places of the words that begin so."""
        words, _ = self._alphabet()
        start = bisect_left(words, typed)
        return slice(start, bisect_left(words, typed + _LAST, start) if typed else len(words))

    def place(self, word: str) -> int | None:
        """Where a word stands in `scores`; none where it is never suggested."""
        words, _ = self._alphabet()
        at = bisect_left(words, word)
        return at if at < len(words) and words[at] == word else None

    def fit(self, texts: Iterable[str]) -> Weights:
        """The weights under which texts are likeliest that `own` has not counted."""
        evidence = Evidence()
        for text in texts:
            tokens = split(text)
            for place, (token, student) in enumerate(self.along(tokens)):
                number = self.word_list.number(token)
                if number is not None:  # of others the student says nothing
                    seen, own = self._own_after(tokens[:place])
                    read = self._corrected(tokens[:place], student)
                    evidence.add(seen, student=float(read[number]), own=float(own[number]))
        return evidence.weights()

    def _corrected(self, tokens: Sequence[str], student: npt.NDArray[np.floating[Any]]) -> Scores:
        """What the student says after tokens, as it has read its owner: [V + new words]."""
        words = len(self.word_list) + len(self.own.new_words)
        if self._reading is None:
            chances = np.zeros(words)
            chances[: len(self.word_list)] = student
            return chances
        with self._following:
            self._open.follow(tokens, student, number=self._known, read=self._read_on)
            before = self.own.number(tokens[-1]) if tokens else START
            return corrected(
                before,
                student,
                texts=self._reading,
                this_text=self._open.reading,
                words=words,
                key=self._open.key,
            )

    def _known(self, token: str) -> int | None:
        number = self.own.number(token)
        return None if number == UNKNOWN else number

    def _read_on(self, tokens: Sequence[str], first: int, wanted: int) -> list[npt.NDArray[np.floating[Any]]]:
        """What the student says before each of tokens[wanted:]; of many, as it reads them from `first` on."""
        if len(tokens) - wanted <= _FEW:  # a mark behind a word: the student has just been there
            return [
                self._model.next_words(self._numbers(tokens[:place])) for place in range(wanted, len(tokens))
            ]
        return [said for _, said in self.along(tokens[first:])][wanted - first :]

    def _numbers(self, tokens: Sequence[str]) -> list[int]:
        return [START, *(number for token in tokens for number in self.word_list.numbers_of(token))]

    def _own_after(self, tokens: Sequence[str]) -> tuple[int, Scores]:
        return self.own.next_words([self.own.number(token) for token in tokens[-2:]])

    def _alphabet(self) -> tuple[list[str], IntArray]:
        """The words that may be suggested in the order of the alphabet, and their numbers."""
        if self._sorted is None or self._sorted[0] != self.own.texts:
            listed = len(self.word_list)
            new = [
                (word, listed + place)
                for place, word in enumerate(self.own.new_words)
                if self.own.times(listed + place) >= SUGGESTED_FROM
            ]
            known = sorted([*((word, number) for number, word in self.word_list.words), *new])
            numbers = np.array([number for _, number in known], np.int64)
            self._sorted = (self.own.texts, [word for word, _ in known], numbers)
        return self._sorted[1:]

    def _seat(self, scores: Scores, typed: str) -> int | None:
        """The place of the likeliest word that begins so, that the list lacks, and that the device types."""
        if len(typed) < SEAT_LETTERS or not self.own.new_words:
            return None
        here, numbers = self.begins(typed), self._alphabet()[1]
        new = np.flatnonzero(numbers[here] >= len(self.word_list)) + here.start
        often = [int(at) for at in new if self.own.times(int(numbers[at])) >= SEAT_TIMES]
        return max(often, key=lambda at: float(scores[at]), default=None)

    def _suggestion(self, at: int, chance: float, kind: str, prefix: str) -> Suggestion:
        words, numbers = self._alphabet()
        own = bool(numbers[at] >= len(self.word_list))
        return Suggestion(_capitals_of(prefix, words[at]), chance, kind, own)


def _checked_prefix(prefix: str) -> str:
    """The letters so far as the list writes them."""
    if len(prefix) > WORD_LIMIT:
        raise InvalidValue("prefix", f"{len(prefix)} letters; a word has {WORD_LIMIT} at most")
    typed = normal(prefix)
    # "o'" and "to-" are on their way to a word.
    if typed and split(typed.rstrip("'-") or "x") != [typed.rstrip("'-") or "x"]:
        raise InvalidValue("prefix", f"{prefix!r} is no beginning of one word")
    return typed


def _largest(scores: Scores, k: int) -> list[int]:
    """Places of the k largest, the largest first, and in the alphabet's order where they are equal."""
    if len(scores) > k:
        # All that are as large as the k-th: which of equals argpartition leaves is no order.
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        places = np.flatnonzero(scores >= least)
    else:
        places = np.arange(len(scores))
    best: list[int] = places[np.argsort(-scores[places], kind="stable")][:k].tolist()
    return best


def _capitals_of(prefix: str, word: str) -> str:
    """The word with the capitals of what is typed."""
    letters = [letter for letter in prefix if unicodedata.category(letter) in ("Lu", "Ll")]
    if len(letters) > 1 and all(letter.isupper() for letter in letters):
        return word.upper()
    if letters and letters[0].isupper():
        return word[:1].upper() + word[1:] if word[:1].isalpha() else word[:1] + word[1:2].upper() + word[2:]
    return word
