"""Type in a terminal, with an agent's suggestions as you go: python examples/keyboard/type.py [HOME]

Tab or F1 takes the first suggestion, F2 and F3 the others; Enter keeps the line, so that its words are
suggested from then on; Ctrl-D ends.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from fedstill_client import AgentClient
from fedstill_client.agent_types import Suggestion
from fedstill_proto.errors import FedstillError
from prompt_toolkit import PromptSession
from prompt_toolkit.formatted_text import HTML
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

SHOWN = 3
_PREFIX = re.compile(r"[^\s.,;:!?\"()]*$")  # the letters of a word that has begun


class Typing:
    """One person at one agent."""

    def __init__(self, agent: AgentClient) -> None:
        self._agent = agent
        self._asked: str | None = None
        self._shown: list[Suggestion] = []
        self.problem = ""

    def suggestions(self, text: str) -> list[Suggestion]:
        """Return what the agent suggests after `text`; it is asked once for each keystroke."""
        if text != self._asked:
            self._asked, prefix = text, _PREFIX.search(text)
            begin = prefix.start() if prefix else len(text)
            try:
                self._shown, self.problem = self._agent.suggest(text[:begin], text[begin:], SHOWN), ""
            except FedstillError as error:
                self._shown, self.problem = [], str(error)
        return self._shown

    def taken(self, text: str, number: int) -> str:
        """Return `text` with a suggestion in place of the letters of its last word."""
        shown = self.suggestions(text)
        return _PREFIX.sub("", text) + shown[number].word + " " if number < len(shown) else text

    def keep(self, line: str) -> None:
        """Tell the agent what was typed."""
        try:
            self._agent.observe_text(line)
        except FedstillError as error:
            self.problem = str(error)
        self._asked = None

    def bar(self, text: str) -> HTML:
        """Return the suggestions as one line; words of one's own are underlined."""
        words = []
        for number, each in enumerate(self.suggestions(text), 1):
            style = "<u>{}</u>" if each.own else "{}"
            words.append(HTML(f"F{number} <b>{style}</b>").format(each.word).value)
        return HTML("   ".join(words)) if words else HTML("<i>{}</i>").format(self.problem or " ")


def session(typing: Typing) -> PromptSession[str]:
    """Make a prompt with the suggestions below the line."""
    keys = KeyBindings()
    spaced: list[str] = []  # lines as they were when a suggestion had just brought a space

    def take(number: int) -> None:
        @keys.add("tab" if number < 0 else f"f{number + 1}")
        def _(event: KeyPressEvent) -> None:
            buffer = event.current_buffer
            before = buffer.document.text_before_cursor
            taken = typing.taken(before, max(number, 0))
            if taken != before:
                buffer.delete_before_cursor(len(_PREFIX.search(before)[0]))  # type: ignore[index]
                buffer.insert_text(taken[len(_PREFIX.sub("", before)) :])
                spaced.append(taken)

    def close_up(mark: str) -> None:
        @keys.add(mark)
        def _(event: KeyPressEvent) -> None:
            if event.current_buffer.document.text_before_cursor in spaced[-1:]:
                event.current_buffer.delete_before_cursor()
            event.current_buffer.insert_text(mark)

    for number in range(-1, SHOWN):
        take(number)
    for mark in ".,;:!?":
        close_up(mark)
    prompt: PromptSession[str] = PromptSession("> ", key_bindings=keys)
    prompt.bottom_toolbar = lambda: typing.bar(prompt.default_buffer.document.text_before_cursor)
    return prompt


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("home", nargs="?", type=Path, help="of a running agent; or FEDSTILL_HOME names it")
    try:
        with AgentClient(parser.parse_args(arguments).home) as agent:
            typing = Typing(agent)
            prompt = session(typing)
            while True:
                line = prompt.prompt()
                if line.strip():
                    typing.keep(line)
    except (EOFError, KeyboardInterrupt):
        return
    except FedstillError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
