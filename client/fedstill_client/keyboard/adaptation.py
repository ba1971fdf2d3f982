"""A student's reading of the owner's text: what it said at each place, and what came there.

Of that, two corrections of what it says next: of how frequent words are (own_marginals.py), and of what came
in places alike (own_memory.py), both of all texts that were typed and of the one that is being typed. Another
student, or one with other weights, reads anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from fedstill_proto.text.vocabulary import START

from fedstill_client.keyboard.cache_lm import CacheLM, Chances, Keys, key_of, share
from fedstill_client.keyboard.unigram_scaling import UnigramAdaptation, rescaled

_NOBODYS = -1  # the number of a word that nobody has typed before
OPEN_WORDS = 128  # of the text that is being typed: those before the last 64 to 128 are let go


class Adaptation:
    """What one student makes of texts; `words` are those of its list."""

    def __init__(self, words: int) -> None:
        self._words = words
        self.marginals = UnigramAdaptation(words)
        self.memory = CacheLM()

    def add(self, before: int, typed: int, said: Chances, key: Keys | None = None) -> None:
        """Take in a word: the numbers of the one before and its own, and what the student said [words].

        A new word, with a number beyond the list's, is kept in memory alone: the student could not expect it.
        """
        if typed < self._words:
            self.marginals.add(typed, said)
        self.memory.add(before, typed, key_of(said) if key is None else key)


def corrected(
    before: int,
    said: Chances,
    *,
    texts: Adaptation,
    this_text: Adaptation,
    words: int,
    key: Keys | None = None,
) -> npt.NDArray[np.float64]:
    """What a student says [words of the list] after a word, for this owner: [words], with new ones.

    key: of what it says, where that was made before.
    """
    factors = texts.marginals.factors(this_text.marginals)
    places = np.concatenate([texts.memory.numbers, this_text.memory.numbers])
    chances = np.zeros(words)
    of_memory = share(len(places))
    if len(places):
        mean, later = texts.memory.mean, len(this_text.memory)
        key = key_of(said) if key is None else key
        alike = np.concatenate(
            [
                texts.memory.alike(before, key, mean=mean, later=later),
                this_text.memory.alike(before, key, mean=mean),
            ]
        )
        weights = np.exp(alike - alike.max())
        chances += of_memory / weights.sum() * np.bincount(places, weights, minlength=words)
    chances[: len(said)] += (1 - of_memory) * rescaled(said, factors)
    return chances


@dataclass(frozen=True)
class _Heard:
    """What the student says at one place, and its key."""

    said: Chances
    key: Keys

    @classmethod
    def of(cls, said: Chances) -> _Heard:
        return cls(said, key_of(said))


@dataclass(frozen=True)
class _Place:
    before: int
    number: int | None  # none of a word that nobody has typed before
    heard: _Heard  # before it


class DraftText:
    """The text that is being typed, as far as the student has read it.

    As words are typed at its end, the student says no more than it is asked; where words were put in or the
    text is another one, it reads that anew.
    """

    def __init__(self, words: int) -> None:
        self._words = words
        self._tokens: list[str] = []
        self._begin = 0  # the token that the places begin with
        self._places: list[_Place] = []
        self._next: _Heard | None = None  # behind them
        self.reading = Adaptation(words)

    def follow(
        self,
        tokens: Sequence[str],
        said: Chances,
        *,
        number: Callable[[str], int | None],
        read: Callable[[Sequence[str], int, int], Sequence[Chances]],
    ) -> None:
        """Come to the end of a text, behind which the student says `said`.

        number: of a word that the list has or that was typed before. read(text, first, wanted): what the
        student says before each token of text[wanted:], where it may read text[first:] alone.
        """
        begin = max(0, len(tokens) // (OPEN_WORDS // 2) - 1) * (OPEN_WORDS // 2)
        same = _in_common(self._tokens, tokens)
        follows = self._heard_at(same)
        self._keep(begin, same)
        known = self._begin + len(self._places)
        if follows is not None and known == same == len(tokens) - 1:
            heard = [follows]
        else:
            heard = [_Heard.of(one) for one in read(tokens, begin, known)] if known < len(tokens) else []
        before = number(tokens[known - 1]) if known else START
        for token, of_token in zip(tokens[known:], heard, strict=True):
            typed = number(token)
            last = _NOBODYS if before is None else before
            self._places.append(_Place(last, typed, of_token))
            self._take_in(self._places[-1])
            before = typed
        self._tokens, self._next = list(tokens), _Heard.of(said)

    @property
    def key(self) -> Keys | None:
        """Of what the student says behind the text."""
        return None if self._next is None else self._next.key

    def _heard_at(self, token: int) -> _Heard | None:
        """What the student says before one of the tokens, or behind them; None if that is not known."""
        place = token - self._begin
        if place == len(self._places):
            return self._next
        return self._places[place].heard if 0 <= place < len(self._places) else None

    def _keep(self, begin: int, end: int) -> None:
        """The places of these tokens, as far as they are known from `begin` on."""
        if begin == self._begin and end == begin + len(self._places):
            return
        self._places = (
            self._places[begin - self._begin : max(0, end - self._begin)] if begin >= self._begin else []
        )
        self._begin, self.reading = begin, Adaptation(self._words)
        for place in self._places:
            self._take_in(place)

    def _take_in(self, place: _Place) -> None:
        if place.number is not None:
            self.reading.add(place.before, place.number, place.heard.said, place.heard.key)


def _in_common(one: Sequence[str], other: Sequence[str]) -> int:
    """Tokens that both begin with."""
    same = 0
    for token, like in zip(one, other, strict=False):
        if token != like:
            break
        same += 1
    return same
