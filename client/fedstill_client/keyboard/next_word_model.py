"""Models of the next word, and the student of text as one: a letter costs nothing, a new word one step.

A package whose graph takes one word at a time is given each word of a context once, and the state that it has
come to is kept: a context that grows costs a step a word, and one that loses its last words none. A state
that takes in so many words and no more is given half of them again when it is full. A context that was never
seen before is replayed from its last words on.

Without such a graph, whole rows of S words are answered each time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray

from fedstill_client.model.answering_student import AnsweringStudent
from fedstill_client.model.label_means import softened
from fedstill_client.model.streaming import State, WordStream

REPLAYED_WORDS = 128  # of a context that was never seen before
_STATES_KEPT = 32  # of the last words, for a context that loses some
_VALUES_AT_ONCE = 1 << 21  # probabilities: 8 MB


class NextWordModel(Protocol):
    """A model of the words of a list: a student, or anything else that predicts the next one."""

    def next_words(self, context: Sequence[int]) -> npt.NDArray[np.floating[Any]]:
        """Probabilities [V] of the word after the numbers of a context, which begins with START."""

    def along(self, text: Sequence[int]) -> Iterator[npt.NDArray[np.floating[Any]]]:
        """Those after each word of a text that begins with START, in order."""


class StudentNextWordModel:
    """What a student predicts after a context; make another one when its weights have changed."""

    def __init__(self, student: AnsweringStudent) -> None:
        self._student = student
        (self._places,) = student.manifest.input_shape
        stream = student.stream()
        self._stream = None if stream is None else _ContextStream(stream)
        self._last: tuple[tuple[int, ...], FloatArray] | None = None
        self._asking = threading.Lock()  # other threads ask, too

    def next_words(self, context: Sequence[int]) -> FloatArray:
        """Probabilities [V] of the word after a context of one word or more."""
        with self._asking:
            seen = tuple(context if self._stream is not None else context[-self._places :])
            if self._last is None or self._last[0] != seen:
                self._last = (seen, self._predict(seen))
            return self._last[1]

    def along(self, text: Sequence[int]) -> Iterator[FloatArray]:
        """Those after each word of a text, which sees the words of its own row of S."""
        rows = max(1, _VALUES_AT_ONCE // (self._places * self._student.manifest.classes))
        for begin in range(0, len(text), rows * self._places):
            words = np.array(text[begin : begin + rows * self._places], np.int64)
            padded = np.zeros(-(-len(words) // self._places) * self._places, np.int64)
            padded[: len(words)] = words
            with self._asking:
                answers = self._student.probabilities_along(padded.reshape(-1, self._places))
            yield from answers.reshape(len(padded), -1)[: len(words)]

    def _predict(self, seen: tuple[int, ...]) -> FloatArray:
        if self._stream is not None:
            return softened(self._stream.after(seen), 1.0)
        return np.asarray(self._student.expected_words(np.array([seen], np.int64))[0])


class _ContextStream:
    """Gives a stream the words of a context that it has not had."""

    def __init__(self, stream: WordStream) -> None:
        self._stream = stream
        self._context: tuple[int, ...] = ()
        self._begin = 0  # the word of the context that the states begin with
        self._after: dict[int, tuple[FloatArray, State]] = {}  # so many words of the context

    def after(self, context: tuple[int, ...]) -> FloatArray:
        """Logits [V] of the word after the context."""
        known = self._known(context)
        if known is None or self._is_full(len(context)):
            self._after, self._begin = {}, max(0, len(context) - self._replayed)
            known = self._begin
        for place in range(known, len(context)):
            state = self._after[place][1] if place in self._after else self._stream.start()
            self._after[place + 1] = self._stream.step(context[place], state)
            self._after.pop(place + 1 - _STATES_KEPT, None)
        self._after = {place: kept for place, kept in self._after.items() if place <= len(context)}
        self._context = context
        return self._after[len(context)][0]

    def _known(self, context: tuple[int, ...]) -> int | None:
        """How many of the context's words lead to a state that is kept; None for none."""
        same = 0
        for word, other in zip(context, self._context, strict=False):
            if word != other:
                break
            same += 1
        return max((place for place in self._after if place <= same), default=None)

    def _is_full(self, words: int) -> bool:
        return 0 < self._stream.places < words - self._begin

    @property
    def _replayed(self) -> int:
        return max(1, self._stream.places // 2) if self._stream.places else REPLAYED_WORDS
