"""A student of text as a keyboard asks it: the letters of a word cost nothing, a new word one run.

The graph that answers takes whole rows of S words and keeps no state between two runs; it is given the last S
words of the context.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from fedstill_proto.soft_labels import FloatArray

from fedstill_client.agent_student import AnsweringStudent

_VALUES_AT_ONCE = 1 << 21  # probabilities: 8 MB


class StudentWords:
    """What a student says after a context; make another one when its weights have changed."""

    def __init__(self, student: AnsweringStudent) -> None:
        self._student = student
        (self._places,) = student.manifest.input_shape
        self._last: tuple[tuple[int, ...], FloatArray] | None = None

    def next_words(self, context: Sequence[int]) -> FloatArray:
        """Probabilities [V] of the word after a context of one word or more."""
        seen = tuple(context[-self._places :])
        last = self._last  # other threads ask, too
        if last is not None and last[0] == seen:
            return last[1]
        answer = np.asarray(self._student.probabilities(np.array([seen], np.int64))[0])
        self._last = (seen, answer)
        return answer

    def along(self, text: Sequence[int]) -> Iterator[FloatArray]:
        """Those after each word of a text, which sees the words of its own row of S."""
        rows = max(1, _VALUES_AT_ONCE // (self._places * self._student.manifest.classes))
        for begin in range(0, len(text), rows * self._places):
            words = np.array(text[begin : begin + rows * self._places], np.int64)
            padded = np.zeros(-(-len(words) // self._places) * self._places, np.int64)
            padded[: len(words)] = words
            answers = self._student.probabilities_along(padded.reshape(-1, self._places))
            yield from answers.reshape(len(padded), -1)[: len(words)]
