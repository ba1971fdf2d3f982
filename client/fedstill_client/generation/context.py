"""A text that grows token by token, and the state that a student has come to in it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Protocol

from fedstill_proto.arrays import FloatArray
from fedstill_proto.errors import InvalidValue

from fedstill_client.model.streaming import State


class TokenStream(Protocol):
    """A student one token at a time; it keeps no state itself (see `fedstill_client.model.streaming`)."""

    places: int

    def start(self) -> State:
        """The state before the first token."""

    def step(self, word: int, state: State) -> tuple[FloatArray, State]:
        """The logits [V] of the next token after one, and the state there."""


class StreamedText:
    """The tokens of a text, each given to a stream once.

    A state that takes in so many tokens and no more is told the last half of them again when it is full, as
    in `fedstill_client.keyboard.next_word_model`; that of a recurrent student takes in any number.

    Args:
        stream: The student.
        droppable: How many of the last tokens can be taken back by `drop`; each costs the memory of a state.
    """

    def __init__(self, stream: TokenStream, *, droppable: int = 0) -> None:
        self._stream = stream
        self._numbers: list[int] = []
        self._after: deque[tuple[int, FloatArray | None, State]] = deque(
            [(0, None, stream.start())], maxlen=droppable + 1
        )

    @property
    def numbers(self) -> tuple[int, ...]:
        """All tokens so far."""
        return tuple(self._numbers)

    @property
    def logits(self) -> FloatArray:
        """The logits [V] of the next token; there is one before it at least."""
        found = self._after[-1][1]
        if found is None:
            raise InvalidValue("text", "has no token yet; begin with the one that texts begin with")
        return found

    def add(self, numbers: Iterable[int]) -> FloatArray:
        """Go on with tokens; gives the logits [V] of the next one."""
        for number in numbers:
            taken_in, _, state = self._after[-1]
            places = self._stream.places
            if places and taken_in == places:
                taken_in, state = self._told_again(self._numbers[len(self._numbers) - max(1, places // 2) :])
            logits, state = self._stream.step(number, state)
            self._numbers.append(number)
            self._after.append((taken_in + 1, logits, state))
        return self.logits

    def drop(self, count: int) -> None:
        """Take back the last tokens."""
        if not 0 <= count < len(self._after):
            raise InvalidValue("count", f"{count}; the last {len(self._after) - 1} tokens can be taken back")
        for _ in range(count):
            self._after.pop()
            self._numbers.pop()

    def _told_again(self, numbers: list[int]) -> tuple[int, State]:
        state = self._stream.start()
        for number in numbers:
            _, state = self._stream.step(number, state)
        return len(numbers), state
