"""The keyboard of an agent: its student, adapted to the texts that the private store has of its owner."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field

from fedstill_proto.package.constraints.suppressor import NOTHING_SUPPRESSED, Suppressor
from fedstill_proto.text.lexicon import Lexicon
from fedstill_proto.text.vocabulary import WordList, split

from fedstill_client.keyboard.adaptation import Adaptation
from fedstill_client.keyboard.correction.layouts import layout_named
from fedstill_client.keyboard.correction.word_corrections import WordCorrections
from fedstill_client.keyboard.interpolation import Weights
from fedstill_client.keyboard.next_word_model import NextWordModel, StudentNextWordModel
from fedstill_client.keyboard.suggester import Suggester
from fedstill_client.keyboard.user_ngrams import UserNgrams
from fedstill_client.model.answering_student import AnsweringStudent
from fedstill_client.store import PrivateStore, StoredText

COUNTED_WORDS = 30_000  # of the newest texts: about 8 MB of counts
ADAPTED_WORDS = 5000  # of the newest texts, to which the student is adapted: about a second
FIT_WORDS = 1000  # of the newest held-out texts, which weigh the owner's n-grams against the student
_GROWTH = 1.25  # words against those at the last time, from which on it is done again


class AgentKeyboard:
    """What the owner typed, counted as it comes.

    The weights are chosen on the texts that are held out, with the n-grams of the others; what is suggested
    counts them all.
    """

    def __init__(
        self,
        word_list: WordList,
        lexicon: Lexicon | None = None,
        *,
        layout: str = "",
        suppressor: Suppressor = NOTHING_SUPPRESSED,
    ) -> None:
        self._word_list, self._lexicon, self._suppressor = word_list, lexicon, suppressor
        self._layout = layout_named(layout) if layout else None
        self._corrections = WordCorrections()
        self._typed = _TypedTexts(UserNgrams(word_list, lexicon, suppressor=suppressor))
        self._words_version = 0  # of the imported and blocked words that these counts know
        self._forgotten = -1  # how often something was forgotten when they were counted
        self._blocked: frozenset[str] = frozenset()
        self._public: tuple[frozenset[str], UserNgrams, WordCorrections] | None = None
        self._model: tuple[object, StudentNextWordModel] | None = None
        self._fitting: threading.Thread | None = None

    @property
    def adaptation(self) -> Adaptation | None:
        """What the student predicted in the texts when that was last asked for."""
        return self._typed.adaptation

    def refresh(self, store: PrivateStore, student: AnsweringStudent) -> Suggester:
        """Count what was typed since, or all of it anew where something was forgotten."""
        typed, new = self._typed, list(store.texts(after=self._typed.last_id))
        version, forgotten = store.words.version, store.times_forgotten()
        is_whole = len(typed.kept) + typed.left_out + len(new) == store.text_count()
        if (version, forgotten) != (self._words_version, self._forgotten):
            self._words_version, self._forgotten, is_whole = version, forgotten, False
            self._blocked = store.words.blocked()
        if not typed.last_id or not is_whole:
            everything = list(store.texts())
            new = _newest(everything, COUNTED_WORDS)
            typed = _TypedTexts(self._new_ngrams(), left_out=len(everything) - len(new))
            for word in store.words.imported():
                typed.ngrams.add_imported(word.word)
        for text in new:
            typed.add(text)
        model = self._model_of(student)
        if typed.adapted_model is not model:
            typed.adaptation, typed.adapted_model = Adaptation(typed.ngrams.listed), model
            new = _newest(list(store.texts()), ADAPTED_WORDS)
        suggester = Suggester(typed.ngrams, model, adaptation=typed.adaptation)
        for text in new:
            suggester.adapt(text.text)
        typed.let_go(len(new))
        if typed.held_out_words > _GROWTH * typed.fitted_words:
            self._fit(typed, list(store.texts()), model)
            typed.fitted_words = typed.held_out_words
        self._typed = typed
        return Suggester(
            typed.ngrams,
            model,
            adaptation=typed.adaptation,
            weights=typed.weights,
            corrections=self._corrections,
            layout=self._layout,
        )

    def _fit(self, typed: _TypedTexts, texts: list[StoredText], model: NextWordModel) -> None:
        """Choose the weights; where there are many texts, on the side, and the old ones hold until then."""
        ngrams = self._new_ngrams()

        def fit() -> None:
            typed.weights = _fitted_weights(texts, ngrams, model)

        if typed.weights is None or typed.words < ADAPTED_WORDS:
            fit()
        elif self._fitting is None or not self._fitting.is_alive():
            self._fitting = threading.Thread(target=fit, name="keyboard-weights", daemon=True)
            self._fitting.start()

    def in_public(self, student: AnsweringStudent) -> Suggester:
        """What suggests words by the package alone, and keeps nothing of what it is asked."""
        if self._public is None or self._public[0] != self._blocked:
            self._public = (self._blocked, self._new_ngrams(), WordCorrections())
        _, ngrams, corrections = self._public
        return Suggester(ngrams, StudentNextWordModel(student), corrections=corrections, layout=self._layout)

    def _new_ngrams(self) -> UserNgrams:
        return UserNgrams(self._word_list, self._lexicon, blocked=self._blocked, suppressor=self._suppressor)

    def _model_of(self, student: AnsweringStudent) -> StudentNextWordModel:
        """The same model, with the contexts that it has seen, as long as the student has the same weights."""
        weights = student.weights
        if self._model is None or self._model[0] is not weights:
            self._model = (weights, StudentNextWordModel(student))
        return self._model[1]


@dataclass
class _TypedTexts:
    """The texts that are counted."""

    ngrams: UserNgrams
    left_out: int = 0  # texts that are too old to be counted
    words: int = 0
    last_id: int = 0
    held_out_words: int = 0  # of all that came
    fitted_words: int = 0  # of those, at the last fit
    weights: Weights | None = None
    adaptation: Adaptation | None = None
    adapted_model: StudentNextWordModel | None = None  # whose adaptation it is
    kept: deque[tuple[str, int]] = field(default_factory=deque)  # the counted ones, and their words

    def add(self, text: StoredText) -> None:
        words = len(split(text.text))
        self.ngrams.add(text.text)
        self.kept.append((text.text, words))
        self.words += words
        self.held_out_words += words if text.held_out else 0
        self.last_id = text.id

    def let_go(self, added: int) -> None:
        """Count the oldest texts no more, where there are many words: about as many as were added."""
        for _ in range(2 * added):
            if self.words <= COUNTED_WORDS or len(self.kept) < 2:
                return
            text, words = self.kept.popleft()
            self.ngrams.remove(text)
            self.words -= words
            self.left_out += 1


def _fitted_weights(texts: list[StoredText], ngrams: UserNgrams, model: NextWordModel) -> Weights:
    for text in _newest([text for text in texts if not text.held_out], COUNTED_WORDS):
        ngrams.add(text.text)
    held_out = _newest([text for text in texts if text.held_out], FIT_WORDS)
    return Suggester(ngrams, model).fit(text.text for text in held_out)


def _newest(texts: list[StoredText], words: int) -> list[StoredText]:
    """The newest texts that have so many words together, and one more if that is too long; in order."""
    kept: list[StoredText] = []
    for text in reversed(texts):
        words -= len(split(text.text))
        if kept and words < 0:
            break
        kept.append(text)
    return kept[::-1]
