"""The keyboard of one simulated device, with and without its own words; and the classical one beside it.

The classical keyboard is the strongest that counts alone make of the same texts: trigrams in Kneser and Ney's
smoothing, which end in the frequencies of the lexicon; then its owner's own trigrams with weights that are
fitted on texts set aside, and a cache of what was typed lately (Kuhn and De Mori, 1990),

    p_cache(w) ~ sum over places i where w was typed of (OFFSET + words since i) ^ -CACHE_DECAY

whose constants were chosen on 32 writers of chat, as the product's were.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_client.keyboard.adaptation import Adaptation
from fedstill_client.keyboard.cache_lm import OFFSET
from fedstill_client.keyboard.interpolation import Weights
from fedstill_client.keyboard.next_word_model import NextWordModel
from fedstill_client.keyboard.suggester import Scores, Suggester
from fedstill_client.keyboard.user_ngrams import UserNgrams
from fedstill_proto.text.lexicon import Lexicon
from fedstill_proto.text.vocabulary import UNKNOWN, WordList, split

from fedstill_sim.tasks.text.data import Typist

CACHE_WEIGHT, CACHE_DECAY, CACHE_HALF_AT = 0.1, 1.0, 50.0


def impersonal(word_list: WordList, model: NextWordModel, lexicon: Lexicon | None = None) -> Suggester:
    """What a device suggests before its owner has typed anything."""
    return Suggester(UserNgrams(word_list, lexicon), model)


def attentive(word_list: WordList, model: NextWordModel, lexicon: Lexicon | None = None) -> Suggester:
    """What it suggests then, with what stands before in the text that is being typed."""
    ngrams = UserNgrams(word_list, lexicon)
    return Suggester(ngrams, model, adaptation=Adaptation(ngrams.listed))


def personal(
    word_list: WordList, model: NextWordModel, typist: Typist, lexicon: Lexicon | None = None
) -> Suggester:
    """What it suggests after its owner's training texts.

    The weights of its own n-grams are chosen on the last of those texts, which the counts then take in, too.
    """
    ngrams = UserNgrams(word_list, lexicon)
    adaptation = Adaptation(ngrams.listed)
    weights = _learn(Suggester(ngrams, model, adaptation=adaptation), typist)
    return Suggester(ngrams, model, adaptation=adaptation, weights=weights)


def counts_alone(lexicon: Lexicon) -> Lexicon:
    """A lexicon whose mix leaves no part to a student."""
    return replace(lexicon, mix=np.zeros_like(lexicon.mix))


def classical(word_list: WordList, counts: Lexicon, typist: Typist | None = None) -> Suggester:
    """The classical keyboard of `counts_alone`; of a typist, with his or her own trigrams and cache."""
    found = _Classical(UserNgrams(word_list, counts), _NoStudent(len(word_list)))
    if typist is not None:
        found.weights = _learn(found, typist)
    return found


def _learn(suggester: Suggester, typist: Typist) -> Weights:
    """Take in a typist's training texts, and choose the weights that suit the last of them best."""
    cut = set_aside(typist)
    for text in typist.train[:cut]:
        suggester.observe(text)
    weights = suggester.fit(typist.train[cut:])
    for text in typist.train[cut:]:
        suggester.observe(text)
    return weights


def set_aside(typist: Typist) -> int:
    """Where the training texts begin that choose what is made of the others: the last fifth of them."""
    return len(typist.train) - max(1, len(typist.train) // 5)


class _NoStudent:
    """Predicts nothing: the lexicon's counts are all there is."""

    def __init__(self, words: int) -> None:
        self._nothing = np.zeros(words)

    def next_words(self, context: Sequence[int]) -> npt.NDArray[np.float64]:
        return self._nothing

    def along(self, text: Sequence[int]) -> Iterator[npt.NDArray[np.float64]]:
        for _ in text:
            yield self._nothing


class _Classical(Suggester):
    """Counts with a cache of what was typed lately, this text's words too."""

    _typed: tuple[int, ...] = ()
    _observed = False  # nothing is personal before

    def observe(self, text: str) -> None:
        super().observe(text)
        self._observed = True
        self._typed += tuple(self._numbers_of(split(text)))

    def _adapted(self, tokens: Sequence[str], prediction: npt.NDArray[np.floating[Any]]) -> Scores:
        chances = super()._adapted(tokens, prediction)
        typed = np.array([*self._typed, *self._numbers_of(tokens)] if self._observed else (), np.int64)
        if len(typed):
            since = np.arange(len(typed), 0, -1)
            recent = np.bincount(typed, (OFFSET + since) ** -CACHE_DECAY, minlength=len(chances))
            weight = CACHE_WEIGHT * len(typed) / (len(typed) + CACHE_HALF_AT)
            chances *= 1 - weight
            chances += weight * recent / recent.sum()
        return chances

    def _numbers_of(self, tokens: Sequence[str]) -> list[int]:
        return [number for number in map(self.ngrams.number, tokens) if number != UNKNOWN]
