"""fedstill-agent's commands with a home at which a service runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fedstill_client.agent_types import PersonalizeOptions
from fedstill_client.cli import app
from fedstill_client.home import AgentHome
from fedstill_proto.errors import FedstillError
from typer.testing import CliRunner

from tests.client.agent_samples import enrolled_home
from tests.client.recording_agent import Recorder, recording_service, short_home
from tests.client.samples import examples


@pytest.fixture(scope="module")
def home() -> Iterator[AgentHome]:
    with short_home() as made:
        yield made


@pytest.fixture(scope="module")
def agent(home: AgentHome) -> Iterator[Recorder]:
    with recording_service(home) as recorder:
        yield recorder


def run(home: AgentHome, command: str, *arguments: object) -> str:
    """What a command prints; an error of ours is raised."""
    given = [command, "--home", str(home.folder), *map(str, arguments)]
    result = CliRunner().invoke(app, given)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def run_json(home: AgentHome, command: str, *arguments: object) -> Any:
    return json.loads(run(home, command, *arguments, "--json"))


def test_predictions_of_more_than_one_call(home: AgentHome, agent: Recorder, tmp_path: Path) -> None:
    x, _ = examples(300)
    np.savez(tmp_path / "x.npz", x=x)

    facts = run_json(home, "predict", "--input", tmp_path / "x.npz")

    assert facts["classes"] == agent.predictor.predict(x).argmax(axis=1).tolist()
    assert set(agent.scopes) == {"owner"}
    run_json(home, "predict", "--input", tmp_path / "x.npz", "--scope", "everyone")
    assert agent.scopes[-1] == "everyone"


def test_all_examples_of_a_file_are_kept(home: AgentHome, agent: Recorder, tmp_path: Path) -> None:
    x, labels = examples(300)
    np.savez(tmp_path / "today.npz", x=x, y=labels)
    agent.kept.clear()

    facts = run_json(home, "observe", "--input", tmp_path / "today.npz")

    assert len(facts["ids"]) == 300
    assert facts["held_out_examples"] == 2
    np.testing.assert_array_equal(np.concatenate([x for x, _ in agent.kept]), x)
    np.testing.assert_array_equal(np.concatenate([y for _, y in agent.kept]), labels)


def test_labels_that_are_not_one_an_example(home: AgentHome, agent: Recorder, tmp_path: Path) -> None:
    np.savez(tmp_path / "today.npz", x=np.zeros((3, 6)), y=np.zeros(2, np.int64))
    with pytest.raises(FedstillError, match=r"today\.npz: y: labels have shape \[2\]; give one an example"):
        run(home, "observe", "--input", tmp_path / "today.npz")


def test_learning_as_wished(home: AgentHome, agent: Recorder) -> None:
    facts = run_json(home, "personalize", "--epochs", 3, "--max-seconds", 1.5)

    assert agent.options[-1] == PersonalizeOptions(epochs=3, max_seconds=1.5)
    assert facts["after"] == {"loss": 0.5, "correct": 3, "answers": 4, "accuracy": 0.75}
    shown = run(home, "personalize")
    assert "75.0%" in shown
    assert "it is better." in shown


def test_status(home: AgentHome, agent: Recorder) -> None:
    facts = run_json(home, "status")

    assert (facts["device"], facts["service_runs"], facts["released_bytes"]) == ("kitchen", True, 99)
    assert "the package's own student answers" in run(home, "status")
    assert run_json(home, "info")["family"] == "mlp-small"


def test_forgetting(home: AgentHome, agent: Recorder) -> None:
    agent.forgotten.clear()

    assert "4 examples and 1 personal students removed" in run(home, "forget", "--id", 3, "--id", 5, "--yes")
    run_json(home, "forget", "--before", "1970-01-01T00:00:10+00:00")
    run(home, "forget", "--everything")  # nobody says yes

    assert agent.forgotten == [((3, 5), None, False), (None, 10.0, False)]
    with pytest.raises(FedstillError, match="give --id NUMBER, --before TIME or --everything"):
        run(home, "forget")
    with pytest.raises(FedstillError, match="--before yesterday: is no time"):
        run(home, "forget", "--before", "yesterday")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--start", "students"), "--start goes with --device"),
        (("--soft-weight", 2), "soft_weight: 2"),
    ],
)
def test_learning_that_is_refused(
    home: AgentHome, agent: Recorder, arguments: tuple[object, ...], words: str
) -> None:
    with pytest.raises(FedstillError, match=words):
        run(home, "personalize", *arguments)


def test_a_home_at_which_no_service_runs(tmp_path: Path) -> None:
    enrolled = enrolled_home(tmp_path / "home")
    x, labels = examples(60)
    np.savez(tmp_path / "today.npz", x=x, y=labels)

    assert len(run_json(enrolled, "observe", "--input", tmp_path / "today.npz")["ids"]) == 60
    assert run_json(enrolled, "personalize", "--epochs", 5)["result"] in ("replaced", "kept")
    assert len(run_json(enrolled, "predict", "--input", tmp_path / "today.npz")["classes"]) == 60
    assert run_json(enrolled, "status")["service_runs"] is False
    assert run_json(enrolled, "forget", "--everything")["examples"] == 60
