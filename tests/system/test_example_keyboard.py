"""The keyboard example, typed at by a terminal, with a real agent behind it."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from fedstill_client import AgentClient
from fedstill_client.agent.agent import Agent
from fedstill_client.service.endpoint import serving_lock
from fedstill_client.service.server import running
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from tests.client.keyboard_samples import keyboard_home
from tests.client.recording_agent import short_home

PLACE = Path(__file__).resolve().parents[2] / "examples" / "keyboard" / "type.py"
F1, F2, END = "\x1bOP", "\x1bOQ", "\x04"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("keyboard_example", PLACE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def agent() -> Iterator[tuple[Path, Agent]]:
    with short_home() as made:
        home = keyboard_home(made.folder)
        with (
            serving_lock(home) as address,
            Agent.open(home.folder) as agent,
            running(agent, address, home.socket, threading.Event()),
        ):
            yield home.folder, agent


def typed(example: ModuleType, home: Path, keys: str) -> None:
    with create_pipe_input() as terminal, create_app_session(input=terminal, output=DummyOutput()):
        terminal.send_text(keys)
        example.main([str(home)])


def texts(agent: Agent) -> list[str]:
    return [text.text for text in agent._store.texts()]


def test_what_is_typed_is_kept_and_suggested(example: ModuleType, agent: tuple[Path, Agent]) -> None:
    home, served = agent
    second = served.suggest("We ", "t", 3)[1].word

    typed(example, home, f"We t{F2}there\rdear quillfeather\r" * 3 + f"dear quillf\t, the q{F1}\r \r{END}")

    kept = texts(served)
    assert len(kept) == 7
    assert kept[0] == f"We {second} there"
    assert kept[6].startswith("dear quillfeather, the q")
    assert kept[6].split()[-1] == served.suggest("dear quillfeather, the ", "q", 1)[0].word


def test_the_bar_underlines_own_words(example: ModuleType, agent: tuple[Path, Agent]) -> None:
    home, served = agent
    for _ in range(3):
        served.observe_text("dear <quillfeather>")
    with AgentClient(home) as client:
        typing = example.Typing(client)
        assert "<b><u>quillfeather</u></b>" in typing.bar("dear ").value
        assert typing.taken("Dear Quillf", 0) == "Dear Quillfeather "
        assert typing.taken("Dear xyzzy", 2) == "Dear xyzzy"
        typing.keep("...")
        assert "holds no word" in typing.problem
        assert typing.bar("x" * 81).value == "<i> </i>"


def test_a_home_without_an_agent(example: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no agent answers"):
        typed(example, tmp_path, END)
