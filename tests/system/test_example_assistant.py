"""The assistant's example, talked to in a terminal, with a real agent behind it."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from fedstill_client.agent.agent import Agent
from fedstill_client.service.endpoint import serving_lock
from fedstill_client.service.server import running

from tests.client.recording_agent import short_home
from tests.client.utterance_samples import THINGS, assistant, home_of

PLACE = Path(__file__).resolve().parents[2] / "examples" / "assistant" / "talk.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("assistant_example", PLACE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def talked(example: ModuleType, home: Path, *lines: str, patch: pytest.MonkeyPatch) -> None:
    said: Iterator[str] = iter(lines)

    def line(prompt: str = "") -> str:
        try:
            return next(said)
        except StopIteration:
            raise EOFError from None

    patch.setattr("builtins.input", line)
    example.main([str(home)])


def test_it_acts_asks_and_learns(
    example: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with short_home() as made:
        home = home_of(made.folder, assistant())
        with (
            serving_lock(home) as address,
            Agent.open(home.folder) as agent,
            running(agent, address, home.socket, threading.Event()),
        ):
            first = ("wrong", "turn on the lamp", "start rosie", "dance", "?!", "start rosie", "clean")
            talked(example, home.folder, *first, patch=monkeypatch)
            kept = agent.status()
            agent.observe_intents([(f"start rosie {word}", "clean") for word in THINGS * 3])
            talked(example, home.folder, "learn", "start rosie", "wrong", "", patch=monkeypatch)

    told = capsys.readouterr().out
    assert "nothing was said yet" in told
    assert "  on (" in told.splitlines()[1]
    assert "'dance' is none of the 3" in told  # what is no intent is not kept
    assert "holds no word" in told
    assert told.count("  kept") == kept.training_examples + kept.held_out_examples == 1
    assert "  clean (" in told.splitlines()[-3]  # its own words now
