"""What says the next word in the simulator: a student or the teacher in torch, with a state for a text.

A device gets to the same chances a keystroke at a time, from a state that it keeps. What both are trained to
say, too, is that a text ends (START comes next); a keyboard is asked for a word that someone types, so that
chance is shared out among the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from fedstill_proto.arrays import FloatArray, Parameters
from fedstill_proto.errors import InvalidValue
from fedstill_proto.text.vocabulary import START
from fedstill_server.families import build_student
from fedstill_server.families.language import GatedRecurrentNetwork
from fedstill_server.tasks.text.teacher import TextTeacher, next_words
from fedstill_server.training.networks import load_parameters


class RecurrentWords:
    """The next words of a recurrent student."""

    def __init__(self, family: str, parameters: Parameters, *, words: int) -> None:
        student = load_parameters(build_student(family, (1,), words), parameters).eval()
        if not isinstance(student, GatedRecurrentNetwork):
            raise InvalidValue(
                "family", f"{family!r} keeps no state from word to word; give gru, or gru-80-224"
            )
        self._student = student

    def next_words(self, context: Sequence[int]) -> FloatArray:
        """Chances [V] of the word after a context."""
        return np.asarray(self._chances(context)[-1])

    def along(self, text: Sequence[int]) -> Iterator[FloatArray]:
        """Those after each word of a text."""
        yield from self._chances(text)

    def after_each(self, text: Sequence[int]) -> FloatArray:
        """Chances [n + 1, V] after START and after each of a text's n words."""
        return self._chances([START, *text])

    def _chances(self, text: Sequence[int]) -> FloatArray:
        return _of_words(next_words(self._student, torch.tensor([list(text)], dtype=torch.int64))[0].numpy())


class TeacherWords:
    """The next words of a teacher."""

    def __init__(self, teacher: TextTeacher) -> None:
        self._teacher = teacher

    def next_words(self, context: Sequence[int]) -> FloatArray:
        """Chances [V] of the word after a context that begins with START."""
        return np.asarray(self._chances(context)[-1])

    def along(self, text: Sequence[int]) -> Iterator[FloatArray]:
        """Those after each word of a text that begins with START."""
        yield from self._chances(text)

    def _chances(self, text: Sequence[int]) -> FloatArray:
        (chances,) = self._teacher.along([text[1:]])
        return _of_words(chances)


def _of_words(chances: FloatArray) -> FloatArray:
    chances = chances.copy()
    chances[:, START] = 0
    chances /= np.maximum(chances.sum(axis=1, keepdims=True), np.float32(1e-30))
    return chances
