"""Suggestions: the next word, one that completes the letters that are typed, or what they were meant to be.

A student predicts how likely each word of its list is after the context. Words that the owner uses more often
than it expects become likelier, and those that were typed in places like this one (adaptation.py); the
owner's n-grams are interpolated (user_ngrams.py, interpolation.py). Among words that begin as typed, the
likelier stands first; a word that the letters are a mistyped beginning of has its own likelihood times the
errors' (correction/); a whole word stays before all others. Behind two letters and more, one place is
reserved for a word that the list lacks, if the owner has typed it, in this text or before. A new word is
suggested from its first use on, unless a word of the lists is so near that it may be a typing error; then
from the second.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.errors import InvalidValue
from fedstill_proto.package.constraints.folding import forms
from fedstill_proto.package.constraints.suppressor import Suppressor
from fedstill_proto.text.private_text import learnable
from fedstill_proto.text.vocabulary import START, UNKNOWN, WordList, is_word, normal, split, split_prefix

from fedstill_client.agent_types import Suggestion
from fedstill_client.keyboard.adaptation import Adaptation, DraftText, Prediction, adapted
from fedstill_client.keyboard.alphabet import Alphabet
from fedstill_client.keyboard.casing import Casing
from fedstill_client.keyboard.correction.as_typed import (
    ACCENTED_SHARE,
    BARE_IN_DICTIONARY,
    BARE_IN_LIST,
    is_bare_letter,
    with_as_typed,
)
from fedstill_client.keyboard.correction.corrector import Meant
from fedstill_client.keyboard.correction.layouts import KeyboardLayout, layout_named, layout_of_languages
from fedstill_client.keyboard.correction.two_words import two_words
from fedstill_client.keyboard.correction.word_corrections import MEANT_TIMES, WordCorrections
from fedstill_client.keyboard.interpolation import Evidence, Weights, default_weights
from fedstill_client.keyboard.next_word_model import NextWordModel
from fedstill_client.keyboard.user_ngrams import UserNgrams

MOST_SUGGESTIONS = 20
SUGGESTED_FROM = 2  # times that a new word was typed which may be a typing error; others from the first on
RESERVED_TIMES, RESERVED_LETTERS, RESERVED_OF = 1, 2, 3  # the last: places to show, one of which is reserved
_FEW = 4  # tokens
_LOOKED_BACK = 24  # words of a context, in which something suppressed may have begun
_BARE = 4  # letters by themselves that may stand among the likeliest words, and are not shown

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Scored:
    """The last context, and its scores."""

    context: str
    weights: Weights
    scores: Scores


class Suggester:
    """Suggests words to the owner of one device.

    Args:
        ngrams: The owner's n-grams.
        model: What predicts the next word.
        adaptation: What the model predicted in the texts that `ngrams` has counted; without one, its
            predictions are taken as they are.
        weights: The weights of the n-grams; the default ones where they are not chosen.
        corrections: The search of corrections; what another suggester of the same words has made of them.
        layout: The device's keyboard; the usual one of its languages where it is not given.
    """

    def __init__(
        self,
        ngrams: UserNgrams,
        model: NextWordModel,
        *,
        adaptation: Adaptation | None = None,
        weights: Weights | None = None,
        corrections: WordCorrections | None = None,
        layout: KeyboardLayout | None = None,
    ) -> None:
        self.ngrams = ngrams
        self._corrections = WordCorrections() if corrections is None else corrections
        languages = () if ngrams.lexicon is None else ngrams.lexicon.languages
        table = None if ngrams.lexicon is None else ngrams.lexicon.casing
        self._casing = Casing(ngrams.casing, table, ngrams.number)
        self._layout = layout_of_languages(languages) if layout is None else layout
        self._adaptation = adaptation
        self._draft = DraftText(ngrams.listed)
        self._following = threading.Lock()  # other threads ask, too
        self.weights = default_weights() if weights is None else weights
        self._model = model
        self._scored: _Scored | None = None
        self._alphabet: tuple[int, Alphabet] | None = None

    @property
    def word_list(self) -> WordList:
        """The words that the student knows."""
        return self.ngrams.word_list

    def observe(self, text: str) -> None:
        """Count what may be learned of a text that the owner typed, and adapt the model to it."""
        self._scored = None
        text = learnable(text).text
        self.ngrams.add(text)
        self.adapt(text)

    def adapt(self, text: str) -> None:
        """Adapt the model to a text that the owner typed, and `ngrams` has counted."""
        if self._adaptation is None:
            return
        self._scored = None
        tokens, previous = split(text), START
        for place, (token, student) in enumerate(self.along(tokens)):
            word = self.ngrams.number(token)
            if word != UNKNOWN:  # as what is too long to be a word is
                self._adaptation.add(previous, word, self._prediction(tokens[:place], student))
            previous = word

    def suggest(self, context: str, prefix: str = "", k: int = 3, *, layout: str = "") -> list[Suggestion]:
        """Suggest words; never one that the package suppresses, or that ends something suppressed here.

        Args:
            context: The text before the word.
            prefix: Its letters so far. Signs that open something may stand before them; where something else
                than a word is being typed (an address, a long number, a mark), nothing is suggested.
            k: How many words at most, 1 to MOST_SUGGESTIONS.
            layout: The keyboard that the letters are typed on, by name; the device's where it is "".

        Returns:
            Up to k suggestions, the likeliest first; before them the word that the letters are, where they
            are a whole one.

        Raises:
            InvalidValue: k is out of range, or the context is too long.
            UnknownName: There is no such layout.
        """
        if not 1 <= k <= MOST_SUGGESTIONS:
            raise InvalidValue("k", f"{k}; ask for 1 to {MOST_SUGGESTIONS} suggestions")
        found, suppressor = self._suggest(context, prefix, k, layout), self.ngrams.suppressor
        if suppressor.is_idle or not found:
            return found
        before = [token for token in split(context) if is_word(token)][-_LOOKED_BACK:]
        return [each for each in found if not _is_suppressed(suppressor, before, each.word)]

    def _suggest(self, context: str, prefix: str, k: int, layout: str) -> list[Suggestion]:
        keyboard = layout_named(layout) if layout else self._layout
        begun = split_prefix(prefix)
        if begun is None:
            return []
        before, letters = begun
        if before:
            context = f"{context} {before}"
        typed = normal(letters)
        scores = self.scores(context)
        if not typed:
            return [
                self._suggestion(at, float(scores[at]), "next", context, "")
                for at in self.shown(scores, "", k)
            ]
        alphabet = self._suggestable()
        words, own = alphabet.words, alphabet.numbers >= self.ngrams.listed
        meant = self._corrections.meant(words, own, typed, keyboard)
        chances = np.zeros(len(words))
        chances[meant.places] = scores[meant.places] * meant.likelihoods
        best = [int(meant.places[at]) for at in _largest(chances[meant.places], k + _BARE)]
        if self._hold_back(chances, [at for at in best[:k] if own[at]], keyboard):
            best = [int(meant.places[at]) for at in _largest(chances[meant.places], k + _BARE)]
        whole = self._whole_word(typed, chances, keyboard)
        # The letter that is typed is no suggestion by itself, unless as a capital.
        shown = k + (len(typed) == 1)
        chosen = self._presented(best, scores, typed, shown, whole=whole)
        accented = _accented(meant, chances)
        if whole is None or (accented is not None and self._is_bare_form(whole, accented)):
            chosen = with_as_typed(
                chosen, chances, accented, letters=len(typed), k=shown, share=ACCENTED_SHARE
            )
        found = [self._found(at, float(chances[at]), typed, context, letters) for at in chosen]
        found = [each for each in found if len(typed) > 1 or each.word != letters][:k]
        here = alphabet.with_prefix(typed)
        return found if here.stop > here.start else self._with_two_words(found, scores, context, letters, k)

    def _found(self, at: int, chance: float, typed: str, context: str, letters: str) -> Suggestion:
        kind = "completion" if self._suggestable().words[at].startswith(typed) else "correction"
        return self._suggestion(at, chance, kind, context, letters)

    def _with_two_words(
        self, found: list[Suggestion], scores: Scores, context: str, letters: str, k: int
    ) -> list[Suggestion]:
        """The suggestions, and among them the two words that the letters may be, without a space."""
        meant = two_words(self._suggestable().words, scores, normal(letters))
        if meant is None or (len(found) == k and found[-1].chance >= meant.chance):
            return found
        left = letters[: len(meant.left)]
        at = self.place(meant.left)
        if at is not None and meant.between == " ":
            left = self._suggestion(at, 0.0, "", context, left).word
        right = self._suggestion(meant.right, meant.chance, "correction", f"{context} {left}", "")
        both = replace(right, word=f"{left}{meant.between}{right.word}")
        return sorted([*found, both], key=lambda each: -each.chance)[:k]

    def prepare(self) -> None:
        """Make ready what a key press needs after words were learned."""
        self.suggest("", "e")

    def scores(self, context: str) -> Scores:
        """The probabilities of all words that may be suggested, in the order of the alphabet.

        They sum to less than 1: marks and pieces of words have their part in the student's prediction, but no
        place here.
        """
        scored = self._scored  # as another thread may replace it
        if scored is not None and scored.context == context and scored.weights is self.weights:
            return scored.scores  # the letters of a word come one by one
        tokens = split(context)
        prediction = self._model.next_words(self._numbers(tokens))
        scores = self._without_ends(tokens, self.by_alphabet(self.interpolated(tokens, prediction)))
        self._scored = _Scored(context, self.weights, scores)
        return scores

    def _without_ends(self, tokens: Sequence[str], scores: Scores) -> Scores:
        """The scores, 0 for words that would end a suppressed phrase behind these tokens."""
        ends = self.ngrams.suppressor.after([token for token in tokens if is_word(token)][-_LOOKED_BACK:])
        if ends:
            words = self._suggestable().words
            scores[[at for at, word in enumerate(words) if not ends.isdisjoint(forms(word))]] = 0.0
        return scores

    def by_alphabet(self, probabilities: Scores) -> Scores:
        """The probabilities of the words that may be suggested, by alphabet, given those of all numbers."""
        return np.asarray(probabilities[self._suggestable().numbers])

    def interpolated(self, tokens: Sequence[str], prediction: npt.NDArray[np.floating[Any]]) -> Scores:
        """The student's prediction [V] after tokens, mixed, adapted, interpolated with the owner's n-grams.

        Returns:
            Probabilities [V + D + new words] by number, which sum to 1.
        """
        seen, probabilities = self._ngrams_after(tokens)
        weight = self.weights[seen]
        probabilities *= weight
        probabilities += (1 - weight) * self._adapted(tokens, prediction)
        return self.ngrams.with_imported(probabilities)

    def along(self, tokens: Sequence[str]) -> Iterator[tuple[str, npt.NDArray[np.floating[Any]]]]:
        """Each token of a text, and the student's prediction [V] of it."""
        after = self._model.along(self._numbers(tokens))
        for token in tokens:
            yield token, next(after)
            for _ in self.word_list.numbers_of(token)[1:]:
                next(after)  # within a word

    def shown(self, scores: Scores, typed: str, k: int) -> list[int]:
        """Places in `scores` of the k words that are shown once `typed` is there, the likeliest first."""
        here = self.with_prefix(typed)
        best = [here.start + at for at in _largest(scores[here], k + _BARE)]
        return self._presented(best, scores, typed, k, whole=self.place(typed))

    def _presented(
        self, best: list[int], scores: Scores, typed: str, k: int, *, whole: int | None
    ) -> list[int]:
        """The places of the k words to show, given the best: those with a place of their own are put in."""
        words = self._suggestable().words
        best = [at for at in best if not is_bare_letter(words[at], float(scores[at]))][:k]
        reserved = self._reserved(scores, typed) if k >= RESERVED_OF else None
        if reserved is not None and reserved not in best:
            best = [*best[: k - 1], reserved]
        chosen = with_as_typed(best, scores, whole, letters=len(typed), k=k)
        if reserved is not None and reserved not in chosen:  # for the word that the letters are
            chosen[-1] = reserved
        return chosen

    def _whole_word(self, typed: str, chances: Scores, keyboard: KeyboardLayout) -> int | None:
        """The place of the word that the letters are by themselves, if that is no error of the owner's."""
        at = self.place(typed)
        if at is None or is_bare_letter(typed, float(chances[at])):
            return None
        return at if self._rival(at, chances, keyboard) is None else None

    def _is_bare_form(self, at: int, accented: int) -> bool:
        """Whether a word is rather another one without its accents or apostrophe, as "dont" is: far rarer.

        Dictionaries hold such forms, for people write them; in public texts that the student has learned they
        are words more often.
        """
        numbers, listed = self._suggestable().numbers, self.ngrams.listed
        number, other = int(numbers[at]), int(numbers[accented])
        if number >= listed or self.ngrams.lexicon is None:
            return False
        in_dictionary = number >= len(self.word_list)
        if other >= listed:  # the owner's own
            return in_dictionary and not self.ngrams.count(number)
        ratio = BARE_IN_DICTIONARY if in_dictionary else BARE_IN_LIST
        return self._frequency(accented) >= ratio * self._frequency(at)

    def _rival(self, at: int, chances: Scores, keyboard: KeyboardLayout) -> int | None:
        """The listed word that one of the owner's own may be an error for; None where that is meant."""
        alphabet = self._suggestable()
        number = int(alphabet.numbers[at])
        if number < self.ngrams.listed or self.ngrams.is_meant(number, MEANT_TIMES):
            return None
        places = self._corrections.rivals(alphabet.words[at], keyboard, frequency=self._frequency)
        return max(places, key=lambda place: float(chances[place]), default=None)

    def _frequency(self, at: int) -> float:
        """How frequent a listed word is in public texts; 1 without a lexicon, which would tell."""
        if self.ngrams.lexicon is None:
            return 1.0
        return float(self.ngrams.lexicon.base[self._suggestable().numbers[at]])

    def _hold_back(self, chances: Scores, own: Sequence[int], keyboard: KeyboardLayout) -> bool:
        """Put the owner's words that may be typing errors behind those of the list that they are for."""
        held = False
        for at in own:
            rival = self._rival(at, chances, keyboard)
            if rival is not None and 0 < chances[rival] / 2 < chances[at]:
                chances[at], held = chances[rival] / 2, True
        return held

    def with_prefix(self, prefix: str) -> slice:
        """The places in `scores` of the words that begin so."""
        return self._suggestable().with_prefix(prefix)

    def place(self, word: str) -> int | None:
        """Where a word stands in `scores`; None where it is never suggested."""
        return self._suggestable().place(word)

    def is_own(self, place: int) -> bool:
        """Whether the word at a place in `scores` is the owner's own, which list and dictionary lack."""
        return bool(self._suggestable().numbers[place] >= self.ngrams.listed)

    def fit(self, texts: Iterable[str]) -> Weights:
        """The weights under which texts are likeliest that `ngrams` has not counted."""
        evidence = Evidence()
        for text in texts:
            tokens = split(text)
            for place, (token, prediction) in enumerate(self.along(tokens)):
                number = self.ngrams.number(token)
                if number != UNKNOWN:
                    seen, ngrams = self._ngrams_after(tokens[:place])
                    student = self._adapted(tokens[:place], prediction)
                    evidence.add(seen, student=float(student[number]), ngrams=float(ngrams[number]))
        return evidence.weights()

    def _adapted(self, tokens: Sequence[str], prediction: npt.NDArray[np.floating[Any]]) -> Scores:
        """The prediction after tokens, adapted to the owner: [V + D + new words]."""
        words = self.ngrams.listed + len(self.ngrams.new_words)
        if self._adaptation is None:
            probabilities = np.zeros(words)
            probabilities[: self.ngrams.listed] = self._mixed(tokens, prediction)
            return probabilities
        mixed = self._prediction(tokens, prediction)
        with self._following:
            self._draft.follow(tokens, mixed, number=self._known_number, predict=self._predictions)
            return adapted(
                self.ngrams.number(tokens[-1]) if tokens else START,
                mixed,
                texts=self._adaptation,
                draft=self._draft.adaptation,
                words=words,
            )

    def _mixed(
        self, tokens: Sequence[str], student: npt.NDArray[np.floating[Any]]
    ) -> npt.NDArray[np.floating[Any]]:
        """The student's prediction [V], mixed with the lexicon's counts: [V + D]."""
        lexicon = self.ngrams.lexicon
        if lexicon is None:
            return student
        return lexicon.mixed(student, [self.ngrams.number(token) for token in tokens[-2:]])

    def _prediction(self, tokens: Sequence[str], student: npt.NDArray[np.floating[Any]]) -> Prediction:
        return Prediction.of(student, self._mixed(tokens, student))

    def _known_number(self, token: str) -> int | None:
        number = self.ngrams.number(token)
        return None if number == UNKNOWN else number

    def _predictions(self, tokens: Sequence[str], first: int, wanted: int) -> list[Prediction]:
        """The predictions of tokens[wanted:]; where they are many, in rows that begin with `first`."""
        if len(tokens) - wanted <= _FEW:  # a mark behind a word: the student has just been there
            said = [
                self._model.next_words(self._numbers(tokens[:place])) for place in range(wanted, len(tokens))
            ]
        else:
            said = [student for _, student in self.along(tokens[first:])][wanted - first :]
        return [self._prediction(tokens[:place], student) for place, student in enumerate(said, wanted)]

    def _numbers(self, tokens: Sequence[str]) -> list[int]:
        return [START, *(number for token in tokens for number in self.word_list.numbers_of(token))]

    def _ngrams_after(self, tokens: Sequence[str]) -> tuple[int, Scores]:
        return self.ngrams.next_words([self.ngrams.number(token) for token in tokens[-2:]])

    def _suggestable(self) -> Alphabet:
        """The words that may be suggested."""
        if self._alphabet is None or self._alphabet[0] != self.ngrams.texts:
            alphabet = self.ngrams.alphabet(SUGGESTED_FROM, doubtful=self._may_be_error)
            self._alphabet = (self.ngrams.texts, alphabet)
        return self._alphabet[1]

    def _may_be_error(self, listed: Alphabet, word: str) -> bool:
        """Whether a word that was typed once may be an error for one of the lists."""
        lexicon = self.ngrams.lexicon

        def frequency(other: str) -> float:
            return 1.0 if lexicon is None else float(lexicon.base[self.ngrams.number(other)])

        own = listed.numbers >= self.ngrams.listed
        return self._corrections.may_be_error(listed.words, own, word, self._layout, frequency=frequency)

    def _reserved(self, scores: Scores, typed: str) -> int | None:
        """The place of the likeliest word that begins so, that the list lacks, and that was typed before."""
        if len(typed) < RESERVED_LETTERS:
            return None
        here, numbers = self.with_prefix(typed), self._suggestable().numbers
        lacking = np.flatnonzero(numbers[here] >= len(self.word_list)) + here.start
        here_too = np.isin(numbers[lacking], self._draft.adaptation.cache.words)
        often = lacking[self.ngrams.are_meant(numbers[lacking], RESERVED_TIMES) | here_too]
        return int(often[scores[often].argmax()]) if len(often) else None

    def _suggestion(self, at: int, chance: float, kind: str, context: str, letters: str) -> Suggestion:
        alphabet = self._suggestable()
        written = self._casing.written(alphabet.words[at], context, letters)
        return Suggestion(written, chance, kind, self.is_own(at))


def _is_suppressed(suppressor: Suppressor, before: Sequence[str], suggested: str) -> bool:
    """Whether something suppressed ends in what is suggested behind words, or is spelled by its two words."""
    words = [token for token in split(suggested) if is_word(token)]
    if len(words) > 1 and suppressor.word("".join(words)):
        return True
    return any(suppressor.at_end([*before, *words[: end + 1]]) for end in range(len(words)))


def _accented(meant: Meant, chances: Scores) -> int | None:
    """The place of the likeliest whole word that the letters are but for accents and apostrophes."""
    places = meant.places[meant.whole & (meant.edits == 0) & (meant.likelihoods < 1)]
    return int(places[np.argmax(chances[places])]) if len(places) else None


def _largest(scores: Scores, k: int) -> list[int]:
    """The places of the k largest, the largest first, and in the alphabet's order where they are equal."""
    left, best = scores.copy(), []
    for _ in range(min(k, len(scores))):
        best.append(int(left.argmax()))  # the first of equals; for so few, faster than any sorting
        left[best[-1]] = -1
    return best
