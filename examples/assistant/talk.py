"""Talk to an assistant in a terminal, and teach it your own words: python examples/assistant/talk.py [HOME]

It says what it would do. Where it is unsure it asks, and what you answer is kept on the device. "learn" lets
it learn from that, "wrong" corrects its last answer, and Ctrl-D ends.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fedstill_client import AgentClient
from fedstill_proto.errors import FedstillError
from fedstill_proto.text.intents import Understanding

LEARN, WRONG = "learn", "wrong"


class Talk:
    """One person at one agent."""

    def __init__(self, agent: AgentClient) -> None:
        self._agent = agent
        self._last: tuple[str, Understanding] | None = None

    def hear(self, text: str) -> None:
        """Act on an utterance, or ask what it means."""
        understood = self._agent.predict_text(text)
        self._last = (text, understood)
        first = understood.intents[0]
        if understood.sure:
            print(f"  {first.name} ({first.confidence:.0%})")
            for slot in understood.slots:
                print(f"    {slot.name}: {slot.value} {slot.unit}".rstrip())
        else:
            self.ask()

    def ask(self) -> None:
        """Ask what the last utterance means, and keep the answer."""
        if self._last is None:
            print("  nothing was said yet")
            return
        text, understood = self._last
        choices = "  ".join(
            f"{number} {each.name} ({each.confidence:.0%})"
            for number, each in enumerate(understood.intents, 1)
        )
        print(f"  what is that? {choices}")
        answer = input("  number, name of an intent, or nothing: ").strip()
        if not answer:
            return
        known = {str(number): each.name for number, each in enumerate(understood.intents, 1)}
        self._agent.observe_intents([(text, known.get(answer, answer))])
        print("  kept")

    def learn(self) -> None:
        """Let the agent learn what it was taught."""
        result = self._agent.personalize()
        print(f"  {result.words}")

    def answer(self, line: str) -> None:
        """Do what a line asks for; print what the agent refuses."""
        try:
            if line == LEARN:
                self.learn()
            elif line == WRONG:
                self.ask()
            elif line:
                self.hear(line)
        except FedstillError as error:
            print(f"  {error}")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("home", nargs="?", type=Path, help="of a running agent; or FEDSTILL_HOME names it")
    try:
        with AgentClient(parser.parse_args(arguments).home) as agent:
            talk = Talk(agent)
            while True:
                talk.answer(input("> ").strip())
    except (EOFError, KeyboardInterrupt):
        print()


if __name__ == "__main__":
    main()
