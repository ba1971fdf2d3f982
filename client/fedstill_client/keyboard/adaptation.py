"""A student's predictions, adapted to what the owner has typed.

Two corrections come from the predictions at each place of the owner's texts and the words that came there:
of how frequent words are (unigram_adaptation.py), and of what came in places alike (cache_lm.py). Both take
in all texts that were typed, and the draft that is being typed. Another student, or one with other weights,
starts anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from fedstill_proto.text.vocabulary import START

from fedstill_client.keyboard.cache_lm import CacheLM, Keys, Probabilities, cache_weight, key_of
from fedstill_client.keyboard.unigram_adaptation import UnigramAdaptation, rescaled

_UNKNOWN = -1  # the number of a word that nobody has typed before
DRAFT_WORDS = 128  # of the text that is being typed: those before the last 64 to 128 are let go


@dataclass(frozen=True)
class Prediction:
    """What is predicted at a place of a text.

    Attributes:
        probabilities: [words of the list and the lexicon], of the student mixed with the lexicon's counts.
        key: The key of the student's own prediction.
    """

    probabilities: Probabilities
    key: Keys

    @classmethod
    def of(cls, student: Probabilities, mixed: Probabilities | None = None) -> Prediction:
        """What a student predicts, and what became of it in the mix with the lexicon's counts."""
        return cls(student if mixed is None else mixed, key_of(student))

    def short(self) -> Prediction:
        """The same in half the bytes, to be kept."""
        return Prediction(self.probabilities.astype(np.float32), self.key)


class Adaptation:
    """What one student predicted in texts, and what came.

    Args:
        words: Words of its list, and of the lexicon where there is one.
    """

    def __init__(self, words: int) -> None:
        self._words = words
        self.unigrams = UnigramAdaptation(words)
        self.cache = CacheLM()

    def add(self, previous: int, word: int, prediction: Prediction) -> None:
        """Take in a word.

        A new word, with a number beyond the list's, goes to the cache alone: the student could not expect it.

        Args:
            previous: The number of the word before it.
            word: Its number.
            prediction: What was predicted there.
        """
        if word < self._words:
            self.unigrams.add(word, prediction.probabilities)
        self.cache.add(previous, word, prediction.key)


def adapted(
    previous: int, prediction: Prediction, *, texts: Adaptation, draft: Adaptation, words: int
) -> npt.NDArray[np.float64]:
    """A student's prediction, adapted to this owner.

    Args:
        previous: The number of the word before.
        prediction: What is predicted behind it.
        texts: What the owner has typed so far.
        draft: What stands before in the text that is being typed.
        words: Words of the list and the lexicon, and new ones.

    Returns:
        Probabilities [words], new words included.
    """
    factors = texts.unigrams.factors(draft.unigrams)
    cached = np.concatenate([texts.cache.words, draft.cache.words])
    result = np.zeros(words)
    weight = cache_weight(len(cached))
    if len(cached):
        mean_key, later = texts.cache.mean_key, len(draft.cache)
        key = prediction.key
        logs = np.concatenate(
            [
                texts.cache.log_weights(previous, key, mean_key=mean_key, later=later),
                draft.cache.log_weights(previous, key, mean_key=mean_key),
            ]
        )
        shares = np.exp(logs - logs.max())
        result += weight / shares.sum() * np.bincount(cached, shares, minlength=words)
    known = prediction.probabilities
    result[: len(known)] += (1 - weight) * rescaled(known, factors)
    return result


@dataclass(frozen=True)
class _Place:
    previous: int
    word: int | None  # none of a word that nobody has typed before
    prediction: Prediction  # of this word


class DraftText:
    """The text that is being typed, with the student's prediction at each of its places.

    As words are typed at its end, the student predicts no more than it is asked; where words were put in or
    the text is another one, it predicts anew.
    """

    def __init__(self, words: int) -> None:
        self._words = words
        self._tokens: list[str] = []
        self._begin = 0  # the token that the places begin with
        self._places: list[_Place] = []
        self._next: Prediction | None = None  # behind them
        self.adaptation = Adaptation(words)

    def follow(
        self,
        tokens: Sequence[str],
        prediction: Prediction,
        *,
        number: Callable[[str], int | None],
        predict: Callable[[Sequence[str], int, int], Sequence[Prediction]],
    ) -> None:
        """Come to the end of a text.

        Args:
            tokens: The text's words and marks.
            prediction: What is predicted behind them.
            number: The number of a word that the list has or that was typed before; None for others.
            predict: predict(text, first, wanted) gives the predictions before each token of text[wanted:],
                where the student may look at text[first:] alone.
        """
        begin = max(0, len(tokens) // (DRAFT_WORDS // 2) - 1) * (DRAFT_WORDS // 2)
        same = _common_prefix(self._tokens, tokens)
        next_prediction = self._prediction_at(same)
        self._keep(begin, same)
        known = self._begin + len(self._places)
        if next_prediction is not None and known == same == len(tokens) - 1:
            predictions = [next_prediction]
        elif known < len(tokens):
            predictions = [made.short() for made in predict(tokens, begin, known)]
        else:
            predictions = []
        previous = number(tokens[known - 1]) if known else START
        for token, prediction in zip(tokens[known:], predictions, strict=True):
            word = number(token)
            self._places.append(_Place(_UNKNOWN if previous is None else previous, word, prediction))
            self._take_in(self._places[-1])
            previous = word
        self._tokens, self._next = list(tokens), prediction.short()

    def _prediction_at(self, token: int) -> Prediction | None:
        """The prediction of one of the tokens, or of the one behind them; None if that is not known."""
        place = token - self._begin
        if place == len(self._places):
            return self._next
        return self._places[place].prediction if 0 <= place < len(self._places) else None

    def _keep(self, begin: int, end: int) -> None:
        """Keep the places of these tokens, as far as they are known from `begin` on."""
        if begin == self._begin and end == begin + len(self._places):
            return
        self._places = (
            self._places[begin - self._begin : max(0, end - self._begin)] if begin >= self._begin else []
        )
        self._begin, self.adaptation = begin, Adaptation(self._words)
        for place in self._places:
            self._take_in(place)

    def _take_in(self, place: _Place) -> None:
        if place.word is not None:
            self.adaptation.add(place.previous, place.word, place.prediction)


def _common_prefix(left: Sequence[str], right: Sequence[str]) -> int:
    """The number of tokens that both begin with."""
    same = 0
    for token, other in zip(left, right, strict=False):
        if token != other:
            break
        same += 1
    return same
