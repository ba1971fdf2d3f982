"""The agent beside the keys, where it is slow or not there; and what IBus is told of the keyboard."""

from __future__ import annotations

import queue
import shlex
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from fedstill_client.agent.agent import Agent
from fedstill_client.home import AgentHome
from fedstill_client.ibus import asking, bindings
from fedstill_client.ibus.asking import AgentAnswer, AskedAgent
from fedstill_client.ibus.bindings import BindingsMissing, load_bindings
from fedstill_client.ibus.cli import app
from fedstill_client.ibus.component import ComponentPlace, component_xml
from fedstill_client.ibus.composition import SuggestionWish
from fedstill_client.service.endpoint import serving_lock
from fedstill_client.service.server import running
from fedstill_client.store import PrivateStore
from fedstill_proto.errors import FedstillError
from typer.testing import CliRunner

from tests.client.keyboard_samples import keyboard_home
from tests.client.recording_agent import short_home

WISH = SuggestionWish("the ", "qu")


class Asked:
    """An asked agent, and what came of it."""

    def __init__(self, home: Path) -> None:
        self.answers: queue.Queue[AgentAnswer] = queue.Queue()
        self.notes: list[str] = []
        self.agent = AskedAgent(home, count=5, answered=self.answers.put, note=self.notes.append)

    def answer(self) -> AgentAnswer:
        return self.answers.get(timeout=20)


@pytest.fixture
def home() -> Iterator[AgentHome]:
    with short_home() as made:
        yield keyboard_home(made.folder)


def test_an_agent_answers_and_keeps_each_sentence_once(home: AgentHome) -> None:
    with (
        serving_lock(home) as address,
        Agent.open(home.folder) as agent,
        running(agent, address, home.socket, threading.Event()),
    ):
        asked = Asked(home.folder)
        asked.agent.ask(WISH)
        found = asked.answer()
        assert found.wish == WISH
        assert found.suggestions is not None
        assert {each.word for each in found.suggestions} >= {"quick", "quest"}
        for sentence in ("the old fox", "...", "the quest"):
            asked.agent.observe(sentence)
        asked.agent.close()
    with PrivateStore.open(home) as store:
        assert [text.text for text in store.texts()] == ["the old fox", "the quest"]
    assert asked.notes == []


def test_where_no_agent_is_that_is_said_once(home: AgentHome) -> None:
    asked = Asked(home.folder)
    asked.agent.ask(WISH)
    first = asked.answer()
    assert first.suggestions is None
    assert "no agent answers" in first.problem
    asked.agent.ask(WISH)
    second = asked.answer()
    assert (second.suggestions, second.problem) == (None, "")
    assert second.seconds < 0.5
    asked.agent.observe("the old fox")
    asked.agent.close()
    assert "not learned" in asked.notes[0]


def test_nobody_waits_for_an_agent_that_is_slow(home: AgentHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_SUGGEST_SECONDS", 0.3)
    monkeypatch.setattr(asking, "_CLOSING_SECONDS", 0.2)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(home.socket))
        silent.listen()
        asked = Asked(home.folder)
        begin = time.perf_counter()
        for letter in "quickly":
            asked.agent.ask(SuggestionWish("the ", letter))
            asked.agent.observe("the old fox")
        assert time.perf_counter() - begin < 0.2
        assert asked.answer().suggestions is None
        begin = time.perf_counter()
        asked.agent.close()
        assert time.perf_counter() - begin < 2


# What IBus is told


@pytest.mark.parametrize(
    "home", ["/srv/home", "/srv/my home", "/srv/it's & <so>", '/srv/"quoted"', "/srv/ünï"]
)
def test_the_component_starts_the_engine_with_its_home(home: str) -> None:
    document = ElementTree.fromstring(component_xml(["--home", home, "-k", "3"]))

    command = shlex.split(document.findtext("exec") or "")
    assert command == [
        *(sys.executable, "-m", "fedstill_client.ibus.cli", "run", "--ibus"),
        *("--home", home, "-k", "3"),
    ]
    assert document.findtext("engines/engine/name") == "fedstill"


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    place = ComponentPlace(tmp_path / "file" / "fedstill.xml", None)
    with pytest.raises(FedstillError, match=r"fedstill\.xml: cannot be written: "):
        place.write([])
    assert place.remove() == []


def test_uninstall_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    ComponentPlace.chosen(system=False).write([])
    first, second = (CliRunner().invoke(app, ["uninstall"]).output for _ in range(2))
    assert first.count("removed: ") == 2
    assert second == "There was nothing to remove.\n"


def test_bindings_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bindings, "_SYSTEM_PACKAGES", tmp_path)
    monkeypatch.setitem(sys.modules, "gi", None)
    with pytest.raises(BindingsMissing, match=r"sudo apt install ibus gir1\.2-ibus-1\.0 python3-gi"):
        load_bindings("IBus")
