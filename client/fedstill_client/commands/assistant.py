"""The commands of a student of utterances: review, and wyoming."""

from __future__ import annotations

import datetime
import logging
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from fedstill_proto.errors import FedstillError

from fedstill_client.agent_types import UnclearUtterance, UnclearUtterances
from fedstill_client.commands.options import AgentCommand, HomeOption, JsonOption
from fedstill_client.commands.output import print_json, print_line
from fedstill_client.commands.reach import reach

if TYPE_CHECKING:
    from fedstill_client.agent.agent import Agent
    from fedstill_client.service.client import AgentClient

_AT_ONCE = 500  # utterances that are shown or reviewed
_CHOICES = 9  # intents with a key of their own
_KEYS = "1-9 what it means, / another intent, n nothing is asked, d drop it, s skip it, u undo, q quit"
_NOTHING = "none"


def register(app: typer.Typer) -> None:
    """Add the commands to fedstill-agent."""
    app.command(name="review", cls=AgentCommand)(review_command)
    app.command(name="wyoming", cls=AgentCommand)(wyoming_command)


def review_command(
    number: Annotated[
        int | None, typer.Option("--id", help="One utterance, by the number in the list.", show_default=False)
    ] = None,
    intent: Annotated[str | None, typer.Option(help="What it means.", show_default=False)] = None,
    drop: Annotated[bool, typer.Option("--drop", help="It is dropped.")] = False,
    drop_all: Annotated[bool, typer.Option("--drop-all", help="All are dropped.")] = False,
    as_list: Annotated[bool, typer.Option("--list", help="Show what waits, and ask nothing.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what utterances mean that were not understood: one key for each.

    They were kept on this device alone (by fedstill-agent wyoming, and by apps that ask for it), the newest
    500 of them. What you say of one is learned: the same words are understood from then on, and
    what is like them after the next learning (fedstill-agent personalize, or a round).

    [bold]Examples[/bold]

      fedstill-agent review

      fedstill-agent review --list --json

      fedstill-agent review --id 17 --intent HassTurnOn

      fedstill-agent review --id 19 --intent none        # asks for nothing

      fedstill-agent review --id 18 --drop
    """
    if (number is not None) != (intent is not None or drop) or (intent is not None and drop):
        raise FedstillError("--id NUMBER goes with --intent NAME or --drop, one of them.")
    with reach(home) as agent:
        if drop_all:
            found = _drop_all(agent)
            print_json({"dropped": found}) if as_json else print_line(f"{found} utterances dropped.")
            return
        if number is not None:
            ids = agent.review(number, intent=intent)
            left = agent.unclear(1).in_all
            if as_json:
                print_json({"ids": ids, "left": left})
            else:
                print_line(f"{'kept' if ids else 'dropped'}; {left} left to review.")
            return
        unclear = agent.unclear(_AT_ONCE)
        if as_json:
            print_json(_document(unclear))
        elif as_list or not unclear.utterances:
            _print_unclear(unclear)
        elif not sys.stdin.isatty():
            raise FedstillError(
                "no terminal to ask at; give --list, or --id NUMBER with --intent NAME or --drop."
            )
        else:
            _Review(agent, unclear).run()


def _drop_all(agent: Agent | AgentClient) -> int:
    found = 0
    while utterances := agent.unclear(_AT_ONCE).utterances:
        for utterance in utterances:
            agent.review(utterance.id, intent=None)
        found += len(utterances)
    return found


def _document(unclear: UnclearUtterances) -> dict[str, object]:
    utterances = [
        {**vars(one), "intents": [vars(intent) for intent in one.intents]} for one in unclear.utterances
    ]
    return {"utterances": utterances, "in_all": unclear.in_all, "intents": list(unclear.names)}


def _print_unclear(unclear: UnclearUtterances) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not unclear.utterances:
        print_line("nothing to review: all that was said was understood, or nothing was kept.")
        return
    table = Table("id", "heard", "text", "perhaps", box=None)
    for one in unclear.utterances:
        heard = datetime.datetime.fromtimestamp(one.heard_at).isoformat(" ", "minutes")
        guess = one.intents[0]
        table.add_row(str(one.id), heard, Text(one.text), f"{guess.name} ({guess.confidence:.0%})")
    Console().print(table, highlight=False)
    print_line(f"{unclear.in_all} to review; without --list, fedstill-agent review asks what each means.")


class _Review:
    """One owner at a terminal, who presses a key for each utterance."""

    def __init__(self, agent: Agent | AgentClient, unclear: UnclearUtterances) -> None:
        self._agent, self._names = agent, unclear.names
        self._waiting = list(unclear.utterances)
        self._said: list[tuple[UnclearUtterance, tuple[int, ...] | None]] = []  # what can be undone

    def run(self) -> None:
        print_line(_KEYS)
        place = 0
        while place < len(self._waiting):
            place += self._ask(place)
            if place < 0:
                break
        labelled = sum(bool(ids) for _, ids in self._said)
        print_line(f"{labelled} learned, {self._agent.unclear(1).in_all} left to review.")

    def _ask(self, place: int) -> int:
        """Ask of one; gives how many to go on by, and far below 0 to end."""
        import click

        one = self._waiting[place]
        choices = [intent.name for intent in one.intents[:_CHOICES]]
        print_line(f"\n{place + 1}/{len(self._waiting)}  {one.text}")
        print_line("   ".join(f"{number} {name}" for number, name in enumerate(choices, 1)))
        while True:
            key = click.getchar()
            if key in "q\x03\x04\x1b":
                return -len(self._waiting) - 1
            if key == "s":
                self._said.append((one, None))
                return 1
            if key == "u":
                if not place:
                    continue
                self._undo(place)
                return -1
            if key == "d":
                return self._decide(one, None)
            if key == "n":
                return self._decide(one, _NOTHING)
            if key == "/":
                name = self._asked_name()
                if name:
                    return self._decide(one, name)
            if key.isdigit() and 1 <= int(key) <= len(choices):
                return self._decide(one, choices[int(key) - 1])

    def _decide(self, one: UnclearUtterance, intent: str | None) -> int:
        self._said.append((one, self._agent.review(one.id, intent=intent)))
        print_line(f"  {intent or 'dropped'}")
        return 1

    def _undo(self, place: int) -> None:
        """Take the last decision back: what was learned is forgotten, and it is asked of anew."""
        one, ids = self._said.pop()
        if ids is None:
            return  # it was skipped
        if ids:
            self._agent.forget(ids=ids)
        self._agent.predict_text(one.text, keep_unsure=True)
        kept = {each.text: each for each in self._agent.unclear(_AT_ONCE).utterances}
        self._waiting[place - 1] = kept.get(one.text.strip(), one)

    def _asked_name(self) -> str:
        """The intent whose name begins, or is spelled, as what is typed; "" where none or several do."""
        typed = input("  intent: ").strip()
        found = [name for name in self._names if name.lower() == typed.lower()] or [
            name for name in self._names if typed and typed.lower() in name.lower()
        ]
        if len(found) == 1:
            return found[0]
        print_line(f"  {', '.join(found[:20]) or 'no intent has that in its name'}")
        return ""


def wyoming_command(
    uri: Annotated[
        str, typer.Option(help="Where to listen: tcp://HOST:PORT or unix:///PATH.")
    ] = "tcp://127.0.0.1:10410",
    network: Annotated[
        bool, typer.Option("--network", help="Let other machines connect; the protocol knows no passwords.")
    ] = False,
    languages: Annotated[
        str, typer.Option(help="Codes of the languages that Home Assistant is told of.")
    ] = "en,de,fr,es,nl",
    home: HomeOption = None,
) -> None:
    """Serve the assistant to Home Assistant, by its Wyoming protocol, until SIGTERM or Ctrl-C.

    In Home Assistant: Settings, Devices & services, Add integration, Wyoming Protocol, with this
    host and port; then choose fedstill as the conversation agent of a voice assistant. What is not
    understood is kept on this device for fedstill-agent review, and goes nowhere else.

    [bold]Examples[/bold]

      fedstill-agent wyoming

      fedstill-agent wyoming --uri tcp://0.0.0.0:10410 --network --languages de
    """
    from fedstill_proto.system.extras import require_extra

    require_extra("wyoming", what="fedstill-agent wyoming")
    from fedstill_client.home_assistant.service import Address, run_service

    address = Address.of(uri, network=network)
    codes = [code.strip() for code in languages.split(",") if code.strip()]
    if not codes or any(not code.replace("-", "").isalnum() or len(code) > 20 for code in codes):
        raise FedstillError(f"--languages {languages}: give codes with commas between, such as en,de")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with reach(home) as agent:
        agent.unclear(1)  # an agent that knows no intents says so now
        run_service(
            agent,
            address,
            languages=codes,
            on_ready=lambda where: print(f"answering at {where}", file=sys.stderr, flush=True),
        )
