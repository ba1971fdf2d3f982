"""Trigrams in the modified smoothing of Kneser and Ney: what counts alone say of the next word.

Chen and Goodman (1999, "An empirical study of smoothing techniques for language modeling"), interpolated.
After a history h of n(h) words, with h' = h without its first word,

    p(w | h) = (c(h, w) - D(c(h, w)) + (D1 N1(h) + D2 N2(h) + D3 N3(h)) p(w | h')) / n(h)

where N1, N2, N3 say how many different words were seen once, twice, or more often after h, and c counts, in
all histories but the longest, after how many different words (h, w) was seen: "Francisco" is frequent, and
yet follows "San" alone. D is estimated of the counts of counts n1 to n4: Y = n1 / (n1 + 2 n2),
D1 = 1 - 2 Y n2 / n1, D2 = 2 - 3 Y n3 / n2, D3 = 3 - 4 Y n4 / n3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from fedstill_proto.text.vocabulary import START

_Counts = npt.NDArray[np.int64]
_Chances = npt.NDArray[np.float32]
_ORDER = 3
_USUAL, _LEAST = 0.5, 0.1


class KneserNeyTrigrams:
    """Counted in texts as rows of word numbers 0 to V - 1, without the START that stands before each.

    The START of the next text is what follows a text's last word.
    """

    def __init__(self, texts: Iterable[Sequence[int]], *, words: int) -> None:
        self.words = words
        padded = [np.array([START, START, *text, START], np.int64) for text in texts if len(text)]
        first = np.concatenate([row[:-2] for row in padded] or [np.zeros(0, np.int64)])
        second = np.concatenate([row[1:-1] for row in padded] or [np.zeros(0, np.int64)])
        word = np.concatenate([row[2:] for row in padded] or [np.zeros(0, np.int64)])
        triples, times = np.unique((first * words + second) * words + word, return_counts=True)
        pairs, before_pair = np.unique(triples % (words * words), return_counts=True)
        single, before_word = np.unique(pairs % words, return_counts=True)
        self._after_two = _Following(triples, times, words)
        self._after_one = _Following(pairs, before_pair, words)
        self._after_none = np.full(words, 1 / words, np.float32)
        _Following(single, before_word, words).add_to(self._after_none, 0)

    @property
    def counts(self) -> int:
        """How many different words, pairs and triples it keeps a number of."""
        return self.words + len(self._after_one) + len(self._after_two)

    def after(self, word: int | None) -> _Chances:
        """Chances [V] of the word after another, whatever stood before that; after None, of any word."""
        chances = self._after_none.copy()
        if word is not None:
            self._after_one.add_to(chances, word)
        return chances

    def along(self, text: Sequence[int]) -> _Chances:
        """Chances [n, V] of the word after each of a row, whose words before it are taken for unknown.

        START in a row begins a text anew.
        """
        chances = np.empty((len(text), self.words), np.float32)
        before = START
        for place, word in enumerate(text):
            before = START if word == START else before
            chances[place] = self._after_none
            self._after_one.add_to(chances[place], word)
            self._after_two.add_to(chances[place], before * self.words + word)
            before = word
        return chances


class _Following:
    """The words after each history and their counts in one sorted table, discounted."""

    def __init__(self, keys: _Counts, counts: _Counts, words: int) -> None:
        self._next = keys % words
        self._histories, begins = np.unique(keys // words, return_index=True)
        self._bounds = np.append(begins, len(keys))
        discount = discounts(counts)[np.minimum(counts, _ORDER)]
        total = np.add.reduceat(counts, begins) if len(keys) else np.zeros(0)
        freed = np.add.reduceat(discount, begins) if len(keys) else np.zeros(0)
        of_history = np.repeat(total, np.diff(self._bounds))
        self._shares = ((counts - discount) / of_history).astype(np.float32)
        self._freed = (freed / total).astype(np.float32)

    def __len__(self) -> int:
        return len(self._next)

    def add_to(self, chances: _Chances, history: int) -> None:
        """Make the chances [V] after a shorter history those after this one, if it was seen."""
        place = int(np.searchsorted(self._histories, history))
        if place == len(self._histories) or self._histories[place] != history:
            return
        here = slice(int(self._bounds[place]), int(self._bounds[place + 1]))
        chances *= self._freed[place]
        chances[self._next[here]] += self._shares[here]


def discounts(counts: _Counts) -> npt.NDArray[np.float64]:
    """What a count of 0, 1, 2, and of 3 or more gives away.

    Little text makes estimates that give away nothing, or all; those are kept from it.
    """
    seen = np.bincount(np.minimum(counts, _ORDER + 2), minlength=_ORDER + 3).astype(np.float64)
    if seen[1] == 0:
        return np.array([0.0, *[_USUAL] * _ORDER])
    share = seen[1] / (seen[1] + 2 * seen[2])
    found = [0.0]
    for times in range(1, _ORDER + 1):
        ratio = seen[times + 1] / seen[times] if seen[times] else 0.0
        found.append(min(max(times - (times + 1) * share * ratio, _LEAST), times - _LEAST))
    return np.array(found)
