"""The keyboard of an agent: its student's words, and its owner's, as the private store has them."""

from __future__ import annotations

from dataclasses import dataclass

from fedstill_proto.text.vocabulary import WordList, split

from fedstill_client.keyboard.adaptation import Adaptation
from fedstill_client.keyboard.interpolation import Weights
from fedstill_client.keyboard.next_word_model import StudentNextWordModel
from fedstill_client.keyboard.suggester import NextWordModel, Suggester
from fedstill_client.keyboard.user_ngrams import UserNgrams
from fedstill_client.model.answering_student import AnsweringStudent
from fedstill_client.store import PrivateStore, StoredText

COUNTED_WORDS = 30_000  # of the newest texts: about 8 MB of counts
READ_WORDS = 5000  # of the newest texts, which the student reads: about a second
FIT_WORDS = 1000  # of the newest held-out texts, which weigh the owner's words against the student's
_GROWTH = 1.25  # words against those at the last time, from which on it is done again


class AgentKeyboard:
    """What the owner typed, counted as it comes.

    The weights are chosen on the texts that are held out, with the counts of the others; what is suggested
    counts them all.
    """

    def __init__(self, word_list: WordList) -> None:
        self._word_list = word_list
        self._typed = _Typed(UserNgrams(word_list))
        self._model: tuple[object, StudentNextWordModel] | None = None

    @property
    def reading(self) -> Adaptation | None:
        """What the student made of the texts when that was last asked for."""
        return self._typed.reading

    def refresh(self, store: PrivateStore, student: AnsweringStudent) -> Suggester:
        """Count what was typed since, or all of it anew where something was forgotten."""
        typed, new = self._typed, list(store.texts(after=self._typed.last_id))
        is_whole = typed.own.texts + typed.left_out + len(new) == store.text_count()
        if not typed.last_id or not is_whole or typed.words > _GROWTH * COUNTED_WORDS:
            everything = list(store.texts())
            new = _newest(everything, COUNTED_WORDS)
            typed = _Typed(UserNgrams(self._word_list), left_out=len(everything) - len(new))
        for text in new:
            typed.add(text)
        model = self._model_of(student)
        if typed.read_by is not model:
            typed.reading, typed.read_by = Adaptation(len(self._word_list)), model
            new = _newest(list(store.texts()), READ_WORDS)
        suggester = Suggester(typed.own, model, reading=typed.reading)
        for text in new:
            suggester.read(text.text)
        if typed.held_out_words > _GROWTH * typed.fitted_words:
            typed.weights = _fitted(list(store.texts()), self._word_list, model)
            typed.fitted_words = typed.held_out_words
        self._typed = typed
        return Suggester(typed.own, model, reading=typed.reading, weights=typed.weights)

    def _model_of(self, student: AnsweringStudent) -> StudentNextWordModel:
        """With what it has heard, as long as the student has the same weights."""
        weights = student.weights
        if self._model is None or self._model[0] is not weights:
            self._model = (weights, StudentNextWordModel(student))
        return self._model[1]


@dataclass
class _Typed:
    """What is counted."""

    own: UserNgrams
    left_out: int = 0  # texts that are too old to be counted
    words: int = 0
    last_id: int = 0
    held_out_words: int = 0  # of all that came
    fitted_words: int = 0  # of those, at the last fit
    weights: Weights | None = None
    reading: Adaptation | None = None
    read_by: StudentNextWordModel | None = None  # whose reading it is

    def add(self, text: StoredText) -> None:
        words = len(split(text.text))
        self.own.add(text.text)
        self.words += words
        self.held_out_words += words if text.held_out else 0
        self.last_id = text.id


def _fitted(texts: list[StoredText], word_list: WordList, model: NextWordModel) -> Weights:
    own = UserNgrams(word_list)
    for text in _newest([text for text in texts if not text.held_out], COUNTED_WORDS):
        own.add(text.text)
    held_out = _newest([text for text in texts if text.held_out], FIT_WORDS)
    return Suggester(own, model).fit(text.text for text in held_out)


def _newest(texts: list[StoredText], words: int) -> list[StoredText]:
    """The newest texts that have so many words together, and one more if that is too long; in order."""
    kept: list[StoredText] = []
    for text in reversed(texts):
        words -= len(split(text.text))
        if kept and words < 0:
            break
        kept.append(text)
    return kept[::-1]
