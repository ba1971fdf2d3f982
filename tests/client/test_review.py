"""What was not understood is kept for its owner, who says with one key what it means."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from fedstill_client.agent.agent import Agent
from fedstill_client.cli import app
from fedstill_client.home import AgentHome
from fedstill_client.service.client import AgentClient
from fedstill_client.service.endpoint import serving_lock
from fedstill_client.service.server import running
from fedstill_client.store.unclear import MOST_KEPT
from fedstill_proto.errors import InvalidValue
from typer.testing import CliRunner

from tests.client.utterance_samples import assistant, home_of

UNHEARD = (
    "make it cozy",
    "movie night",
    "good morning",
    "gemütlich machen",
    "het is hier donker",
    "mets l'ambiance",
    "it is stuffy in here",
    "party mode",
    "bedtime",
    "brew coffee",
    "déjeuner",
)


@pytest.fixture
def home(tmp_path: Path) -> AgentHome:
    return home_of(tmp_path / "home", assistant())


@pytest.mark.parametrize("text", UNHEARD)
def test_what_was_taught_once_is_understood_the_next_time(tmp_path: Path, text: str) -> None:
    with Agent.open(home_of(tmp_path / "home", assistant()).folder) as agent:
        before = agent.predict_text(text, keep_unsure=True)
        (kept,) = agent.unclear().utterances
        ids = agent.review(kept.id, intent="clean")
        after = agent.predict_text(f"{text.upper()}!")
        others = agent.predict_text(f"do not {text}")
        left = agent.unclear().in_all

    assert before.intent is None
    assert kept.text == text
    assert kept.intents == agent_order(kept.intents)
    assert len(ids) == 1
    assert after.intent == "clean"
    assert others.intent is None
    assert left == 0


def agent_order(intents: tuple) -> tuple:  # type: ignore[type-arg]
    return tuple(sorted(intents, key=lambda each: -each.confidence))


def test_the_newest_are_kept_each_once_and_forgotten_with_all_else(home: AgentHome) -> None:
    with Agent.open(home.folder) as agent:
        for text in ("make it cozy", "movie night", "make it cozy"):
            agent.predict_text(text, keep_unsure=True)
        agent.predict_text("turn on the radio", keep_unsure=True)  # understood
        agent.predict_text("bedtime")  # not to be kept
        shown = [one.text for one in agent.unclear().utterances]
        status = agent.status()
        agent.forget(everything=True)
        left = agent.unclear().in_all

    assert shown == ["make it cozy", "movie night"]
    assert status.training_examples + status.held_out_examples == 0
    assert left == 0
    assert b"cozy" not in home.store.read_bytes()


@pytest.mark.parametrize(
    "text",
    [
        "my password is hunter2xQ",
        "remember that my pin is 4821",
        "pay with 4111 1111 1111 1111",
        "write to anna.beck@example.org",
        "das passwort ist Sommer2024!",
        "mon mot de passe est soleil99",
        "send it to DE89 3704 0044 0532 0130 00",
    ],
)
def test_an_utterance_with_a_secret_is_kept_nowhere(home: AgentHome, text: str) -> None:
    with Agent.open(home.folder) as agent:
        agent.predict_text(text, keep_unsure=True)
        agent.predict_text("please wait 1500 seconds", keep_unsure=True)
        kept = [one.text for one in agent.unclear().utterances]

    assert text not in kept
    assert kept == ["please wait 1500 seconds"]


def test_no_more_than_its_limit_is_kept(home: AgentHome) -> None:
    with Agent.open(home.folder) as agent:
        store = agent._store
        for number in range(MOST_KEPT + 7):
            store.keep_unclear(f"utterance {number}", heard_at=float(number))
        kept = store.unclear()

    assert len(kept) == MOST_KEPT
    assert kept[0].text == f"utterance {MOST_KEPT + 6}"
    assert kept[-1].text == "utterance 7"


def test_what_cannot_be_reviewed_is_refused_and_stays(home: AgentHome) -> None:
    with Agent.open(home.folder) as agent:
        agent.predict_text("make it cozy", keep_unsure=True)
        (kept,) = agent.unclear().utterances
        with pytest.raises(InvalidValue, match="id: 99 is none of the utterances"):
            agent.review(99, intent="on")
        with pytest.raises(InvalidValue, match="'cosy' is none of the 3"):
            agent.review(kept.id, intent="cosy")
        left = agent.unclear().in_all
        agent.review(kept.id, intent=None)

        assert left == 1
        assert agent.unclear().in_all == 0
        assert agent.predict_text("make it cozy").intent is None


def test_what_asks_for_nothing_is_dropped_where_the_student_has_no_class_of_it(home: AgentHome) -> None:
    with Agent.open(home.folder) as agent:
        agent.predict_text("make it cozy", keep_unsure=True)
        (kept,) = agent.unclear().utterances
        ids = agent.review(kept.id, intent="none")

        assert ids == ()
        assert agent.unclear().in_all == 0


def test_apps_review_through_the_socket(home: AgentHome) -> None:
    with (
        serving_lock(home) as address,
        Agent.open(home.folder) as own,
        running(own, address, home.socket, threading.Event()),
        AgentClient(home.folder) as agent,
    ):
        agent.predict_text("make it cozy", keep_unsure=True)
        agent.predict_text("movie night", keep_unsure=True)
        unclear = agent.unclear(1)
        ids = agent.review(unclear.utterances[0].id, intent="off")
        dropped = agent.review(agent.unclear().utterances[0].id, intent=None)
        understood = agent.predict_text("movie night")

    assert (unclear.in_all, len(unclear.utterances)) == (2, 1)
    assert unclear.names == ("clean", "off", "on")
    assert len(ids) == 1
    assert dropped == ()
    assert understood.intent == "off"


def test_scripts_review_by_number(home: AgentHome) -> None:
    with Agent.open(home.folder) as agent:
        agent.predict_text("make it cozy", keep_unsure=True)
    call = CliRunner().invoke
    listed = json.loads(call(app, ["review", "--json", "--home", str(home.folder)]).stdout)
    number = listed["utterances"][0]["id"]
    where = ["--home", str(home.folder), "--json"]
    answer = call(app, ["review", "--id", str(number), "--intent", "on", *where])
    half = call(app, ["review", "--id", str(number), *where])
    nothing = call(app, ["review", "--home", str(home.folder)])

    assert listed["intents"] == ["clean", "off", "on"]
    assert json.loads(answer.stdout)["left"] == 0
    assert "--id NUMBER goes with --intent NAME or --drop" in str(half.exception)
    assert "nothing to review" in nothing.stdout


def test_one_key_at_a_terminal_labels_one_utterance(home: AgentHome) -> None:
    with Agent.open(home.folder) as agent:
        for text in ("bedtime", "movie night", "make it cozy"):
            agent.predict_text(text, keep_unsure=True)
        likeliest = {one.text: one.intents[0].name for one in agent.unclear().utterances}
    shown = at_terminal(["review", "--home", str(home.folder)], keys="11ud2")

    with Agent.open(home.folder) as agent:
        cozy, bedtime = agent.predict_text("make it cozy").intent, agent.predict_text("bedtime").intent
        left = agent.unclear().in_all
    assert cozy == likeliest["make it cozy"]
    assert bedtime not in (None, likeliest["bedtime"])  # undone, and said anew
    assert left == 0
    assert "2 learned, 0 left" in shown


def at_terminal(arguments: list[str], *, keys: str) -> str:
    """What fedstill-agent shows somebody who presses a key whenever it asks."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "fedstill_client.cli", *arguments]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown, deadline = "", time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 0.3)[0]:
                shown += os.read(ours, 4096).decode()
            elif asked := shown.count("   2 "):  # lines of choices
                os.write(ours, keys[min(asked, len(keys)) - 1].encode())  # a key pressed early is thrown away
    except OSError:
        pass  # the other end is closed
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return shown
