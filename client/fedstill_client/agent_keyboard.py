"""The keyboard of an agent: its student's words, and its owner's, as the private store has them."""

from __future__ import annotations

from collections import deque

from fedstill_proto.word_list import WordList, split

from fedstill_client.agent_student import AnsweringStudent
from fedstill_client.keyboard.mixing import Weights
from fedstill_client.keyboard.own_words import OwnWords
from fedstill_client.keyboard.student_words import StudentWords
from fedstill_client.keyboard.suggester import NextWords, Suggester
from fedstill_client.store import PrivateStore, StoredText

FIT_WORDS = 1000  # held-out words, the newest, that weigh the owner's own words
_FIT_GROWTH = 1.25  # held-out words, against those at the last time, that are worth another look


class AgentKeyboard:
    """What the owner typed, counted as it comes.

    The weights are chosen on the texts that are held out, with the counts of the others; what is suggested
    counts them all.
    """

    def __init__(self, word_list: WordList) -> None:
        self._word_list = word_list
        self._typed = _Typed(word_list)

    def refresh(self, store: PrivateStore, student: AnsweringStudent) -> Suggester:
        """Count what was typed since, or all of it anew where something was forgotten."""
        new = list(store.texts(after=self._typed.last_id))
        if self._typed.all.texts + len(new) != store.text_count():
            self._typed, new = _Typed(self._word_list), list(store.texts())
        for text in new:
            self._typed.add(text)
        model = StudentWords(student)
        return Suggester(self._typed.all, model, weights=self._typed.weights(model))


class _Typed:
    """The counts of some texts."""

    def __init__(self, word_list: WordList) -> None:
        self.all, self._training = OwnWords(word_list), OwnWords(word_list)
        self.last_id = 0
        self._held_out: deque[tuple[str, int]] = deque()  # the newest, with how many words each has
        self._held_out_words = 0  # of all that came, now and at the last fit
        self._fitted_words = 0
        self._weights: Weights | None = None

    def add(self, text: StoredText) -> None:
        self.all.add(text.text)
        self.last_id = text.id
        if not text.held_out:
            self._training.add(text.text)
            return
        words = len(split(text.text))
        self._held_out.append((text.text, words))
        self._held_out_words += words
        while len(self._held_out) > 1 and sum(words for _, words in self._held_out) > FIT_WORDS:
            self._held_out.popleft()

    def weights(self, model: NextWords) -> Weights | None:
        """Of the owner's words against the student's; none before anything was held out."""
        if self._held_out_words > _FIT_GROWTH * self._fitted_words:
            self._weights = Suggester(self._training, model).fit(text for text, _ in self._held_out)
            self._fitted_words = self._held_out_words
        return self._weights
