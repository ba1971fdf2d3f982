"""The agent with a student of utterances: what a text means, how sure that is, and its owner's own words."""

from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from fedstill_client.agent.agent import Agent
from fedstill_client.agent_types import AgentError, AgentRefused, PersonalizeOptions
from fedstill_client.cli import app, main
from fedstill_client.home import AgentHome
from fedstill_client.packages import PackageError, check_package
from fedstill_client.service.client import AgentClient
from fedstill_client.service.endpoint import serving_lock
from fedstill_client.service.server import running
from fedstill_proto.errors import InvalidValue
from fedstill_proto.package.artifact import load_student, save_package
from fedstill_proto.text.intents import IntentSchema
from fedstill_sim.tasks.utterances.sentences import NOTHING
from typer.testing import CliRunner

from tests.client.utterance_samples import NAMES, SCHEMA, THINGS, assistant, home_of

VERBS = {"clean": "clean", "turn off": "off", "turn on": "on"}
ROOMS = tuple(f"in room {number}" for number in range(20))


@pytest.fixture
def home(tmp_path: Path) -> AgentHome:
    return home_of(tmp_path / "home", assistant())


def test_what_a_text_means_and_how_sure_that_is(home: AgentHome) -> None:
    with Agent.open(home.folder) as agent:
        understood = agent.predict_text("Turn ON the radio!")
        x = SCHEMA.rows(["turn on the radio"])
        logits = np.log(agent.predict(x)[0])  # without the package's temperature

    assert understood.sure
    assert understood.intent == "on"
    scaled = np.exp(logits / 0.5) / np.exp(logits / 0.5).sum()
    assert understood.intents[0].confidence == pytest.approx(scaled.max(), rel=1e-5)
    assert sum(each.confidence for each in understood.intents) == pytest.approx(1)


def test_it_abstains_where_it_is_unsure(home: AgentHome) -> None:
    with Agent.open(home.folder) as agent:
        understood = agent.predict_text("xylophone zwieback")

    assert understood.intents[0].confidence < 0.8
    assert not understood.sure
    assert understood.intent is None


def test_it_learns_a_name_of_its_owners(home: AgentHome) -> None:
    with Agent.open(home.folder) as agent:
        before = agent.predict_text("start rosie")
        ids = agent.observe_intents([(f"start rosie {word}", "clean") for word in THINGS * 4])
        learned = agent.personalize(PersonalizeOptions(epochs=30))
        after = agent.predict_text("start rosie")
        status = agent.status()
        agent.forget(everything=True)
        forgotten = agent.predict_text("start rosie")

    assert before.intent is None
    assert len(ids) == status.training_examples + status.held_out_examples == 24
    assert learned.result == "replaced"
    assert after.intent == "clean"
    assert forgotten == before


def test_what_means_nothing_is_as_unsure_as_before_whatever_was_observed(home: AgentHome) -> None:
    asked = [(f"{verb} the {thing}", name) for verb, name in VERBS.items() for thing in THINGS]
    sure_of_nothing = []
    with Agent.open(home.folder) as agent:
        for rooms in ((), ROOMS[:1], ROOMS):  # 0, 5 and 100 utterances are observed
            agent.observe_intents(
                [(f"turn on the {thing} {room}", "on") for room in rooms for thing in THINGS[:5]]
            )
            for learns in (False, True)[: 1 + bool(rooms)]:
                if learns:
                    agent.personalize(PersonalizeOptions(epochs=20))
                sure_of_nothing.append(sum(agent.predict_text(text).sure for text in NOTHING))
                answers = [(agent.predict_text(text).intent, name) for text, name in asked]
                sure = [(intent, name) for intent, name in answers if intent is not None]
                assert len(sure) >= 12
                assert sum(intent == name for intent, name in sure) >= 0.95 * len(sure)

    assert len(NOTHING) == 25
    assert max(sure_of_nothing) <= sure_of_nothing[0] + 1


def test_of_an_utterance_the_text_is_kept_nowhere(home: AgentHome) -> None:
    with Agent.open(home.folder) as agent:
        agent.observe_intents([("tell zanzibar to clean", "clean")])

    for file in home.folder.rglob("*"):
        if file.is_file():
            assert b"zanzibar" not in file.read_bytes()


def test_what_is_wrong_is_refused_and_nothing_kept(home: AgentHome) -> None:
    with Agent.open(home.folder) as agent:
        with pytest.raises(InvalidValue, match=r"intent: 'dance' is none of the 3"):
            agent.observe_intents([("clean the tv", "clean"), ("dance", "dance")])
        for text in ("", "?!", "\ud800"):
            with pytest.raises(InvalidValue, match="holds no word"):
                agent.predict_text(text)
        with pytest.raises(InvalidValue, match="1001 characters"):
            agent.predict_text("a" * 1001)
        with pytest.raises(InvalidValue, match="k: 0"):
            agent.predict_text("clean", 0)
        hostile = np.array([[-1e30, 1e30, 3.7, 8191.5] + [9e9] * 20], np.float32)
        assert np.isfinite(agent.predict(hostile)).all()  # any numbers are rows of the table
        assert agent.status().training_examples == 0


def test_another_student_knows_no_intents(tmp_path: Path) -> None:
    bare = dataclasses.replace(assistant(), intents=None)
    home = home_of(tmp_path / "home", bare)

    with Agent.open(home.folder) as agent, pytest.raises(AgentError, match="knows no intents"):
        agent.predict_text("clean the tv")


def test_a_package_with_another_schema_is_refused() -> None:
    for schema, problem in (
        (IntentSchema(("a", "b"), hashing=SCHEMA.hashing), "2; the student has 3 classes"),
        (IntentSchema(NAMES), "128; the student takes 24"),
    ):
        with pytest.raises(PackageError, match=problem):
            check_package(dataclasses.replace(assistant(), intents=schema.to_json()))
    with pytest.raises(PackageError, match="is no JSON"):
        check_package(dataclasses.replace(assistant(), intents=b"{"))
    with pytest.raises(PackageError, match="is no object of"):
        check_package(dataclasses.replace(assistant(), intents=b"[]"))


def test_through_the_socket_it_is_the_same(home: AgentHome) -> None:
    with (
        serving_lock(home) as address,
        Agent.open(home.folder) as agent,
        running(agent, address, home.socket, threading.Event()),
        AgentClient(home.folder) as app,
    ):
        assert app.predict_text("turn off the fan") == agent.predict_text("turn off the fan")
        assert len(app.predict_text("turn off the fan", k=1).intents) == 1
        (kept,) = app.observe_intents([("start rosie", "clean")])
        assert kept > 0
        with pytest.raises(AgentRefused, match="holds no word"):
            app.predict_text("...")
        with pytest.raises(AgentRefused, match="'dance' is none"):
            app.observe_intents([("dance", "dance")])


def test_the_commands(home: AgentHome, tmp_path: Path) -> None:
    run, place = CliRunner(), ["--home", str(home.folder), "--json"]
    said = tmp_path / "said.csv"
    said.write_text('text,label\n"clean the lamp, please",clean\nturn off,off\n')

    answer = json.loads(run.invoke(app, ["predict", "--text", "turn on the tv", *place]).output)
    one = json.loads(
        run.invoke(app, ["observe", "--text", "start rosie", "--intent", "clean", *place]).output
    )
    many = json.loads(run.invoke(app, ["observe", "--input", str(said), *place]).output)
    package = tmp_path / "student"
    save_package(package, assistant())
    of_package = run.invoke(app, ["predict", "--text", "zwieback", "--student", str(package)]).output

    assert (answer["intent"], answer["sure"]) == ("on", True)
    assert (len(one["ids"]), len(many["ids"])) == (1, 2)
    assert "Unsure" in of_package
    assert load_student(package).intents == SCHEMA.to_json()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["predict"], "give --input FILE, or --text"),
        (["predict", "--text", "a", "--input", "x.npz"], "--text goes with"),
        (["observe", "--text", "a"], "or --text UTTERANCE with --intent"),
        (["observe", "--input", "said.csv"], "said.csv: line 2: label is missing"),
    ],
)
def test_wrong_commands_say_what_is_wrong(
    home: AgentHome,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    problem: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("said.csv").write_text("text,label\nclean,\n")
    monkeypatch.setattr("sys.argv", ["fedstill-agent", *arguments, "--home", str(home.folder)])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 2
    assert problem in capsys.readouterr().err.replace("\n", " ")
