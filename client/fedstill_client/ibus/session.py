"""Typing with an agent behind it: keys go in, a screen shows what comes of them.

The screen is IBus's in the desktop (engine.py); this part knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from fedstill_client.agent_types import Suggestion
from fedstill_client.ibus.asking import AgentAnswer, AskedAgent
from fedstill_client.ibus.composition import (
    Commit,
    Composition,
    CompositionSettings,
    ForwardKey,
    KeyOutcome,
    SuggestionWish,
)
from fedstill_client.ibus.field import Field
from fedstill_client.ibus.keys import Key


class TypingScreen(Protocol):
    """Where typing is shown."""

    def commit(self, text: str) -> None:
        """Give the app a text."""

    def forward(self, key: Key) -> None:
        """Give the app a key that it was not given."""

    def show_preedit(self, text: str, *, is_taken: bool) -> None:
        """Show a text at the cursor that isn't committed; IBus gives it to the app where the focus leaves."""

    def show_table(self, suggestions: Sequence[Suggestion], cursor: int | None) -> None:
        """Show suggestions; none where there are none."""

    def show_note(self, text: str) -> None:
        """Show a line that a person should know; none where it is empty."""


class TypingSession:
    """One person at one agent, in all fields.

    Args:
        screen: Where typing is shown.
        settings: What the owner has chosen.
        home: The agent's home.
        count: How many suggestions are shown.
        later: Has a function called in the thread of the keys.
        log: Called with what a person should know.
    """

    def __init__(
        self,
        screen: TypingScreen,
        settings: CompositionSettings,
        *,
        home: Path | None,
        count: int,
        later: Callable[[Callable[[], None]], None],
        log: Callable[[str], None],
    ) -> None:
        self._screen, self._later, self._log = screen, later, log
        self._composition = Composition(settings)
        self._asked: SuggestionWish | None = None
        self._shown: tuple[object, ...] = ("", False)
        self._table: tuple[object, ...] = ((), None)
        self._agent = AskedAgent(
            home, count=count, answered=self._deliver, note=lambda note: later(lambda: log(note))
        )

    def press(self, key: Key) -> bool:
        """A key was pressed; returns whether it was taken."""
        outcome = self._composition.press(key)
        if outcome.committed:
            self._screen.show_note("")  # it has been there for a word
        return self._show(outcome)

    def choose(self, number: int) -> None:
        """A place in the lookup table was clicked at, counted from 0."""
        self._show(self._composition.choose(number))

    def enter_field(self, entered: Field) -> None:
        """A field has the focus, or says of what kind it is."""
        self._show(self._composition.enter_field(entered))

    def leave_field(self) -> None:
        """The focus goes elsewhere."""
        self._show(self._composition.leave_field())

    def reset(self) -> None:
        """The app has moved the cursor or changed its text."""
        self._show(self._composition.reset())

    def say_text_before(self, text: str) -> None:
        """The app says what stands before the cursor."""
        self._show(self._composition.say_text_before(text))

    def close(self) -> None:
        """End; what was typed and has not been committed is not learned."""
        self._agent.close()

    def _deliver(self, answer: AgentAnswer) -> None:
        def in_turn() -> None:
            self._show(self._composition.answer(answer.wish, answer.suggestions))
            if answer.problem:
                self._log(answer.problem)
                self._screen.show_note(f"fedstill: {answer.problem}")

        self._later(in_turn)

    def _show(self, outcome: KeyOutcome) -> bool:
        typing = self._composition
        if any(isinstance(action, Commit | ForwardKey) for action in outcome.actions):
            self._show_preedit("")  # before the text that it becomes
        for action in outcome.actions:
            if isinstance(action, Commit):
                self._screen.commit(action.text)
            elif isinstance(action, ForwardKey):
                self._screen.forward(action.key)
            else:
                self._agent.observe(action.text)
        self._show_preedit(typing.preedit)
        table = (typing.suggestions, typing.cursor)
        if table != self._table:
            self._table = table
            self._screen.show_table(*table)
        if typing.question != self._asked:
            self._asked = typing.question
            if self._asked is not None:
                self._agent.ask(self._asked)
        return outcome.handled

    def _show_preedit(self, text: str) -> None:
        shown = (text, self._composition.is_taken)
        if shown != self._shown:
            self._shown = shown
            self._screen.show_preedit(text, is_taken=self._composition.is_taken)
