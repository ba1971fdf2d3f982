"""The agent, asked beside the keys: a key press never waits for it.

Two threads, each with a connection of its own: one asks for suggestions, and of the questions that came
meanwhile for the last one only; the other has sentences kept, each once. An agent that does not answer is
left alone for a moment, in which questions are answered at once: there is nothing.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fedstill_proto.errors import FedstillError

from fedstill_client.agent_types import AgentError, AgentRefused, Suggestion
from fedstill_client.ibus.composition import SuggestionWish

if TYPE_CHECKING:
    from fedstill_client.service.client import AgentClient

_SUGGEST_SECONDS = 1.0
_OBSERVE_SECONDS = 10.0
_LEFT_ALONE_SECONDS = 2.0
_CLOSING_SECONDS = 2.0
_WAITING_LIMIT = 100  # sentences that wait to be kept


@dataclass(frozen=True)
class AgentAnswer:
    """What came of a question.

    Attributes:
        wish: The question.
        suggestions: None where the agent could not answer.
        problem: Why it could not, for a person; empty where it could, or where it was said already.
        seconds: From the question to the answer.
    """

    wish: SuggestionWish
    suggestions: Sequence[Suggestion] | None
    problem: str = ""
    seconds: float = 0.0


class AskedAgent:
    """The agent of a home.

    Args:
        home: The agent's home; by default what FEDSTILL_HOME names, or /var/lib/fedstill.
        count: How many suggestions a question asks for.
        answered: Called with each answer, in a thread of this object's.
        note: Called with what a person should know, in a thread of this object's.
    """

    def __init__(
        self,
        home: Path | None,
        *,
        count: int,
        answered: Callable[[AgentAnswer], None],
        note: Callable[[str], None],
    ) -> None:
        self._home, self._count = home, count
        self._answered, self._note = answered, note
        self._news = threading.Condition()
        self._question: tuple[SuggestionWish, float] | None = None
        self._sentences: deque[str] = deque()
        self._is_closed = False
        self._threads = [
            threading.Thread(target=work, name=f"fedstill-ibus-{work.__name__}", daemon=True)
            for work in (self._suggest, self._observe)
        ]
        for thread in self._threads:
            thread.start()

    def ask(self, question: SuggestionWish) -> None:
        """Ask for suggestions; a question that has not been asked yet is dropped for this one."""
        with self._news:
            self._question = (question, time.perf_counter())
            self._news.notify_all()

    def observe(self, sentence: str) -> None:
        """Have a sentence kept."""
        with self._news:
            if len(self._sentences) < _WAITING_LIMIT:
                self._sentences.append(sentence)
                self._news.notify_all()

    def close(self) -> None:
        """End, once the sentences are kept that wait for it; some seconds at most."""
        with self._news:
            self._is_closed = True
            self._news.notify_all()
        until = time.monotonic() + _CLOSING_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _suggest(self) -> None:
        connection = _Connection(self._home, _SUGGEST_SECONDS)
        while (asked := self._next_question()) is not None:
            question, at = asked
            suggestions: Sequence[Suggestion] | None = None
            problem = ""
            try:
                agent = connection.reach()
                if agent is not None:
                    suggestions = agent.suggest(question.context, question.prefix, self._count)
                    connection.works()
            except AgentRefused:
                suggestions = ()  # letters that begin no word
            except FedstillError as error:
                problem = connection.leave(error)
            self._answered(AgentAnswer(question, suggestions, problem, time.perf_counter() - at))
        connection.close()

    def _observe(self) -> None:
        connection = _Connection(self._home, _OBSERVE_SECONDS)
        while (sentence := self._next_sentence()) is not None:
            try:
                agent = connection.reach()
                if agent is None:
                    self._note("what was typed is not learned: no agent answers.")
                else:
                    agent.observe_text(sentence)
                    connection.works()
            except AgentRefused:
                pass  # no word in it
            except FedstillError as error:
                problem = connection.leave(error) or "no agent answers."
                self._note(f"what was typed is not learned: {problem}")
        connection.close()

    def _next_question(self) -> tuple[SuggestionWish, float] | None:
        with self._news:
            self._news.wait_for(lambda: self._question is not None or self._is_closed)
            asked, self._question = self._question, None
            return None if self._is_closed else asked

    def _next_sentence(self) -> str | None:
        with self._news:
            self._news.wait_for(lambda: bool(self._sentences) or self._is_closed)
            return self._sentences.popleft() if self._sentences else None


class _Connection:
    """A connection that is made when it is needed, and not again for a moment once it has failed."""

    def __init__(self, home: Path | None, seconds: float) -> None:
        self._home, self._seconds = home, seconds
        self._agent: AgentClient | None = None
        self._left_until = 0.0
        self._said = ""

    def reach(self) -> AgentClient | None:
        """The agent; None while it is left alone.

        Raises:
            AgentError: No agent answers.
        """
        if self._agent is None:
            if time.monotonic() < self._left_until:
                return None
            from fedstill_client.service.client import AgentClient

            self._agent = AgentClient(self._home, timeout_seconds=self._seconds)
        return self._agent

    def works(self) -> None:
        """The agent has answered: the next problem is a new one."""
        self._said = ""

    def leave(self, error: FedstillError) -> str:
        """Leave the agent alone for a moment; returns the problem, if it is not the one from before."""
        self.close()
        self._left_until = time.monotonic() + _LEFT_ALONE_SECONDS
        said, self._said = self._said, str(error)
        return "" if said == str(error) and isinstance(error, AgentError) else str(error)

    def close(self) -> None:
        """Close the connection."""
        if self._agent is not None:
            self._agent.close()
            self._agent = None
