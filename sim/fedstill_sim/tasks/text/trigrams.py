"""Word trigrams with backoff: what a keyboard suggested before there were networks.

The estimate of Witten and Bell (1991), as Chen and Goodman (1999, "An empirical study of smoothing techniques
for language modeling") interpolate it. After a history h of n(h) words with t(h) different next words,

    p(w | h) = (c(h, w) + t(h) p(w | h')) / (n(h) + t(h))

where h' is h without its first word, and without any word every one of V is as likely. A history that was
never seen says what h' says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

_Array = npt.NDArray[np.int64]


class WordTrigrams:
    """Trained on texts as rows of word numbers 0 to V - 1."""

    def __init__(self, texts: Iterable[Sequence[int]], *, words: int, start: int) -> None:
        self._words, self._start = words, start
        stream = [np.array([start, start, *text], np.int64) for text in texts]
        first = np.concatenate([row[:-2] for row in stream] or [np.zeros(0, np.int64)])
        second = np.concatenate([row[1:-1] for row in stream] or [np.zeros(0, np.int64)])
        word = np.concatenate([row[2:] for row in stream] or [np.zeros(0, np.int64)])
        counts = np.bincount(word, minlength=words)
        self._unigrams = _interpolated(np.full(words, 1 / words), counts.nonzero()[0], counts[counts > 0])
        self._after_one = _Successors(second, word, words)
        self._after_two = _Successors(first * words + second, word, words)

    def next_words(self, context: Sequence[int]) -> npt.NDArray[np.float64]:
        """Probabilities [V] of the word after a context, of which the last two words count."""
        first, second = ([self._start, self._start, *context])[-2:]
        chances = self._unigrams
        for table, history in ((self._after_one, second), (self._after_two, first * self._words + second)):
            found = table.of(history)
            if found is not None:
                chances = _interpolated(chances, *found)
        return chances

    def along(self, text: Sequence[int]) -> Iterator[npt.NDArray[np.float64]]:
        """Those after each word of a text."""
        for place in range(1, len(text) + 1):
            yield self.next_words(text[max(0, place - 2) : place])


class _Successors:
    """The words after each history and how often, in one sorted table."""

    def __init__(self, histories: _Array, words: _Array, vocabulary: int) -> None:
        keys, self._counts = np.unique(histories * vocabulary + words, return_counts=True)
        self._next = keys % vocabulary
        self._histories, begins = np.unique(keys // vocabulary, return_index=True)
        self._bounds = np.append(begins, len(keys))

    def of(self, history: int) -> tuple[_Array, _Array] | None:
        """Next words and their counts; none where the history was never seen."""
        place = int(np.searchsorted(self._histories, history))
        if place == len(self._histories) or self._histories[place] != history:
            return None
        here = slice(int(self._bounds[place]), int(self._bounds[place + 1]))
        return self._next[here], self._counts[here]


def _interpolated(lower: npt.NDArray[np.float64], words: _Array, counts: _Array) -> npt.NDArray[np.float64]:
    different, seen = len(words), int(counts.sum())
    chances = lower * (different / max(seen + different, 1)) if different else lower.copy()
    chances[words] += counts / max(seen + different, 1)
    return chances
