"""Whoever says which word comes next, for many rows side by side.

A network with a `step` (export/streaming.py) takes in one word at a time, however long the row before it is:
torch.vmap makes one step of many rows of it, unless it says with `steps_rows` that it takes many rows itself,
which is faster. Who has no `step` is asked about whole rows, one length of which is all that a teacher may
know; what stands behind a place is not seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from fedstill_proto.text.vocabulary import START
from torch import Tensor, nn

from fedstill_server.distill.teachers.torch_module import TorchTeacher
from fedstill_server.teachers.interface import TeacherModel

RowState = tuple[Tensor, ...]
"""What is remembered of rows [n, ...], the words so far or what a network makes of them."""


class WordPredictor(Protocol):
    """Says next words."""

    def begin(self, rows: int) -> RowState:
        """The state of so many rows before their first word."""

    def after(self, words: Tensor, state: RowState) -> tuple[Tensor, RowState]:
        """Logits [n, V] of what follows the words int64 [n], and the state behind them."""


class StreamedWords:
    """A network word by word."""

    def __init__(self, network: nn.Module) -> None:
        streaming: Any = network
        self._start: dict[str, Tensor] = streaming.start_state()
        self._whole = bool(getattr(network, "steps_rows", False))
        self._step = streaming.step if self._whole else torch.vmap(streaming.step)

    def begin(self, rows: int) -> RowState:
        start = self._start.values()
        if self._whole:
            return tuple(value.expand(rows, *value.shape[1:]) for value in start)
        return tuple(value.expand(rows, *value.shape) for value in start)

    def after(self, words: Tensor, state: RowState) -> tuple[Tensor, RowState]:
        if self._whole:
            logits, *behind = self._step(words, *state)
            return logits, tuple(behind)
        logits, *behind = self._step(words.unsqueeze(1), *state)
        return logits.squeeze(1), tuple(behind)


class AskedWords:
    """Whole rows int64 [n, places] are asked about, for logits [n, places, V]."""

    def __init__(self, answer: Callable[[Tensor], Tensor], *, places: int) -> None:
        self.answer, self.places = answer, places

    def begin(self, rows: int) -> RowState:
        return torch.full((rows, self.places), START), torch.zeros((), dtype=torch.int64)

    def after(self, words: Tensor, state: RowState) -> tuple[Tensor, RowState]:
        rows, place = state[0].clone(), int(state[1])
        rows[:, place] = words
        return self.answer(rows)[:, place], (rows, state[1] + 1)


def next_words_of(network: nn.Module, *, places: int) -> WordPredictor:
    """A network as it says next words, in the fastest way that it knows, of rows of `places` words."""
    if hasattr(network, "step"):
        streamed = StreamedWords(network)
        try:
            with torch.no_grad():
                streamed.after(torch.full((2,), START), streamed.begin(2))
            return streamed
        except (NotImplementedError, RuntimeError, TypeError, ValueError):
            pass  # its step does what torch.vmap cannot
    return AskedWords(network, places=places)


def next_words_of_teacher(teacher: TeacherModel, *, places: int) -> WordPredictor:
    """The same of a teacher."""
    if isinstance(teacher, TorchTeacher):
        return next_words_of(teacher.network, places=places)
    return AskedWords(
        lambda rows: torch.from_numpy(teacher.answer(rows.numpy()).logits),
        places=places,
    )
