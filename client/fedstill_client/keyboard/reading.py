"""A student's reading of the owner's text: what it said at each place, and what came there.

Of that, two corrections of what it says next: of how frequent words are (own_marginals.py), and of what came
in places alike (own_memory.py), both of all texts that were typed and of the one that is being typed. Another
student, or one with other weights, reads anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from fedstill_proto.word_list import START

from fedstill_client.keyboard.own_marginals import OwnMarginals, rescaled
from fedstill_client.keyboard.own_memory import Chances, OwnMemory, key_of, share

OPEN_WORDS = 128  # of the text that is being typed: those before the last 64 to 128 are let go


class Reading:
    """What one student makes of texts; `words` are those of its list."""

    def __init__(self, words: int) -> None:
        self._words = words
        self.marginals = OwnMarginals(words)
        self.memory = OwnMemory()

    def add(self, before: int, typed: int, said: Chances) -> None:
        """Take in a word: the numbers of the one before and its own, and what the student said [words].

        A new word, with a number beyond the list's, is kept in memory alone: the student could not expect it.
        """
        if typed < self._words:
            self.marginals.add(typed, said)
        self.memory.add(before, typed, key_of(said))


def corrected(
    before: int, said: Chances, *, texts: Reading, this_text: Reading, words: int
) -> npt.NDArray[np.float64]:
    """What a student says [words of the list] after a word, for this owner: [words], with new ones."""
    factors = texts.marginals.factors(this_text.marginals)
    places = [*texts.memory.typed, *this_text.memory.typed]
    chances = np.zeros(words)
    of_memory = share(len(places))
    if places:
        mean, key, later = texts.memory.mean, key_of(said), len(this_text.memory)
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
class _Place:
    token: str
    number: int | None  # none of a word that nobody has typed before
    said: Chances


class OpenText:
    """The text that is being typed, as far as the student has read it.

    As words are typed at its end, the student says no more than it is asked; where words were put in or the
    text is another one, it reads that anew.
    """

    def __init__(self, words: int) -> None:
        self._words = words
        self._begin = 0
        self._places: list[_Place] = []
        self._next: Chances | None = None  # what the student says behind them
        self.reading = Reading(words)

    def follow(
        self,
        tokens: Sequence[str],
        said: Chances,
        *,
        number: Callable[[str], int | None],
        read: Callable[[Sequence[str]], Iterator[Chances]],
    ) -> None:
        """Come to the end of a text, behind which the student says `said`.

        number: of a word that the list has or that was typed before. read: what the student says before each
        token of a text.
        """
        begin = max(0, len(tokens) // (OPEN_WORDS // 2) - 1) * (OPEN_WORDS // 2)
        window = tokens[begin:]
        if begin != self._begin:
            self._let_go(0)
            self._begin = begin
        same = 0
        for place, token in zip(self._places, window, strict=False):
            if place.token != token:
                break
            same += 1
        if same < len(self._places):
            self._let_go(same)
        if self._next is not None and same == len(window) - 1:
            heard: Sequence[Chances] = [self._next]
        elif same < len(window):
            heard = list(read(window))[same:]
        else:
            heard = []
        for token, before_it in zip(window[same:], heard, strict=True):
            self._add(_Place(token, number(token), before_it))
        self._next = said

    def _let_go(self, kept: int) -> None:
        """Of all but the first places."""
        places, self._places, self.reading = self._places, [], Reading(self._words)
        self._next = places[kept].said if kept < len(places) else None
        for place in places[:kept]:
            self._add(place)

    def _add(self, place: _Place) -> None:
        if place.number is not None:
            last = self._places[-1].number if self._places else START
            self.reading.add(-1 if last is None else last, place.number, place.said)
        self._places.append(place)
