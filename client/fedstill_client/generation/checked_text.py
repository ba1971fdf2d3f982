"""A text whose tokens are given several at a time, and can be taken back: what checks drafted tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from fedstill_proto.arrays import FloatArray

from fedstill_client.generation.context import StreamedText, TokenStream
from fedstill_client.model.streaming import State


class BlockStream(TokenStream, Protocol):
    """A student that takes several tokens in one run (see `fedstill_client.model.streaming`)."""

    @property
    def has_blocks(self) -> bool:
        """Whether it does."""

    def block(self, words: Sequence[int], state: State) -> tuple[FloatArray, State]:
        """The logits [T, V] of the token after each, and the state after all."""

    def taken_back(self, state: State, words: int) -> State:
        """The state before the last words."""


class CheckedText(Protocol):
    """A text, the student's logits behind each token that was just given, and the way back."""

    def along(self, numbers: Sequence[int]) -> FloatArray:
        """Go on with tokens; the logits [T, V] of the one after each."""

    def drop(self, count: int) -> None:
        """Take back the last tokens of those that were just given."""


def checked_text(stream: BlockStream, *, most: int) -> CheckedText:
    """A text of a student, of which up to `most` tokens at a time are taken back."""
    return BlockText(stream) if stream.has_blocks else SteppedText(stream, droppable=most)


class SteppedText:
    """That of a student that takes one token at a time: each costs a run."""

    def __init__(self, stream: TokenStream, *, droppable: int) -> None:
        self._text = StreamedText(stream, droppable=droppable)

    def along(self, numbers: Sequence[int]) -> FloatArray:
        return np.stack([self._text.add([number]) for number in numbers])

    def drop(self, count: int) -> None:
        self._text.drop(count)


class BlockText:
    """That of a student that takes several in one run.

    Where its places are full it is told the last half of them again, at the same token at which a text of one
    token at a time is, so that both say the same.
    """

    def __init__(self, stream: BlockStream) -> None:
        self._stream = stream
        self._numbers: list[int] = []
        self._taken_in, self._state = 0, stream.start()
        self._before = (0, self._taken_in, self._state)  # as it was before the last tokens

    def along(self, numbers: Sequence[int]) -> FloatArray:
        self._before = (len(self._numbers), self._taken_in, self._state)
        parts, places = [], self._stream.places
        left = list(numbers)
        while left:
            if self._taken_in == places:
                again = self._numbers[len(self._numbers) - max(1, places // 2) :]
                _, self._state = self._stream.block(again, self._stream.start())
                self._taken_in = len(again)
            part = left[: places - self._taken_in]
            logits, self._state = self._stream.block(part, self._state)
            parts.append(logits)
            self._numbers += part
            self._taken_in += len(part)
            left = left[len(part) :]
        return np.concatenate(parts)

    def drop(self, count: int) -> None:
        if not count:
            return
        length, taken_in, state = self._before
        kept = self._numbers[length : len(self._numbers) - count]
        if self._taken_in - taken_in == len(self._numbers) - length:
            self._numbers = self._numbers[:-count]
            self._state, self._taken_in = self._stream.taken_back(self._state, count), self._taken_in - count
            return
        # It was told again in between: what was dropped may have come before.
        self._numbers = self._numbers[:length]
        self._taken_in, self._state = taken_in, state
        if kept:
            self.along(kept)
