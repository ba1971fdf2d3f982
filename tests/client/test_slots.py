"""Slots on a device: found by a small tagger, with declared names, through agent, app and command line."""

from __future__ import annotations

import functools
import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fedstill_client.agent.agent import Agent
from fedstill_client.agent.slots import HomeNamesError
from fedstill_client.cli import app
from fedstill_client.home import AgentHome
from fedstill_client.home_assistant.entities import entities_of
from fedstill_client.model.intents import predict_intents
from fedstill_client.model.runtime import GraphError
from fedstill_client.model.slots import SlotFinder, likeliest_labels
from fedstill_client.packages import PackageError, check_package
from fedstill_client.service.client import AgentClient
from fedstill_client.service.endpoint import serving_lock
from fedstill_client.service.server import running
from fedstill_proto.errors import FedstillError, InvalidValue, WireError
from fedstill_proto.package.artifact import StudentPackage, load_student, save_package
from fedstill_proto.text.intents import ScoredIntent, Understanding
from fedstill_proto.text.slots import HomeNames, SlotSchema, SlotValue, unmarked
from fedstill_server.tasks.utterances.slots.export import tagger_graph
from fedstill_server.tasks.utterances.slots.invented import MarkedText
from fedstill_server.tasks.utterances.slots.training import LearnedTagger, SlotPlan, learned_tagger
from fedstill_sim.tasks.utterances.homes import languages
from fedstill_sim.tasks.utterances.slots import public_utterances
from typer.testing import CliRunner

from tests.client.slot_samples import HOME, MARKED
from tests.client.utterance_samples import assistant, home_of


@functools.cache
def tagger() -> LearnedTagger:
    table = [
        MarkedText(each.text, each.spans)
        for language in languages()
        for each in public_utterances(language, 80, seed=1)
    ]
    return learned_tagger(table, plan=SlotPlan(seen=2_800, passes=7))


@functools.cache
def with_slots() -> StudentPackage:
    return replace(assistant(), slots=tagger().schema.to_json(), slots_graph=tagger_graph(tagger()))


def finder(home: HomeNames | None = None) -> SlotFinder:
    found = SlotFinder.of_package(with_slots(), home)
    assert found is not None
    return found


def f1(home: HomeNames | None) -> float:
    right = wrong = 0
    known = finder(home)
    for text in MARKED:
        plain, spans = unmarked(text)
        wanted = {(each.name, each.begin, each.end) for each in spans}
        given = {(each.name, each.begin, each.end) for each in known.slots(plain)}
        right, wrong = right + len(wanted & given), wrong + len(wanted ^ given)
    return 2 * right / (2 * right + wrong)


def test_a_tagger_of_a_few_seconds_finds_most_and_declared_names_help() -> None:
    assert f1(HOME) > 0.85
    assert f1(HOME) > f1(None) > 0.4


def test_the_graph_says_what_the_network_says() -> None:
    import torch
    from fedstill_proto.text.slot_words import slot_words

    learned = tagger()
    words = slot_words("set the lava lamp in the sauna to fifty percent", learned.schema)
    numbers, features = torch.from_numpy(words.numbers)[None], torch.from_numpy(words.features)[None]
    with torch.no_grad():
        expected = learned.network(numbers, features, torch.ones(1, len(words.places)))[0].numpy()
    (logits,) = finder().session.run(["logits"], {"numbers": words.numbers, "features": words.features})
    assert np.abs(logits - expected).max() < 0.5  # the table is in 8 bits
    assert (logits.argmax(1) == expected.argmax(1)).all()


QUANTITIES = [
    ("set the lava lamp to fifty percent", "number", "fifty percent", 50),
    ("set the lava lamp to 50%", "number", "50%", 50),
    ("😀 set the lava lamp to 50 %", "number", "50 %", 50),
    ("die Lavalampe auf fünfzig Prozent", "number", "fünfzig Prozent", 50),
    ("la lampe de papi à quatre-vingt-dix pour cent", "number", "quatre-vingt-dix pour cent", 90),
    ("la tostadora al veintidós por ciento", "number", "veintidós por ciento", 22),
    ("het licht op tweeëntwintig procent", "number", "tweeëntwintig procent", 22),
    ("a timer for an hour and a half", "duration", "an hour and a half", 5400),
    ("timer auf anderthalb Stunden", "duration", "anderthalb Stunden", 5400),
    ("un minuteur de une heure et demie", "duration", "une heure et demie", 5400),
    ("un temporizador de media hora", "duration", "media hora", 1800),
    ("een timer van drie kwartier", "duration", "drie kwartier", 2700),
    ("set it to 20.5 degrees", "temperature", "20.5 degrees", 20.5),
    ("auf minus zwei Grad", "temperature", "minus zwei Grad", -2),
    ("à vingt degrés", "temperature", "vingt degrés", 20),
    ("a veintiún grados", "temperature", "veintiún grados", 21),
    ("op twintig graden", "temperature", "twintig graden", 20),
]


@pytest.mark.parametrize(("text", "name", "part", "value"), QUANTITIES)
def test_a_quantity_is_a_slot_wherever_it_stands(text: str, name: str, part: str, value: float) -> None:
    found = [each for each in finder(HOME).slots(text) if each.name == name]
    assert [(each.text, each.value) for each in found] == [(part, value)]
    assert all(text[each.begin : each.end] == each.text for each in found)


NAMES = [
    ("start ROSIE", "name", "ROSIE", "Rosie"),
    ("is rosie on", "name", "rosie", "Rosie"),
    ("turn off opa's lamp please", "name", "opa's lamp", "Opa's lamp"),
    ("Opa’s lamp off", "name", "Opa’s lamp", "Opa's lamp"),
    ("lights in the sauna", "area", "sauna", "Sauna"),
    ("licht in der werkstatt an", "area", "werkstatt", "Werkstatt"),
    ("schalte den BEAMER aus", "name", "BEAMER", "Beamer"),
    ("allume la véranda", "area", "véranda", "Véranda"),
    ("allume la veranda", "area", "veranda", "Véranda"),
    ("éteins la lampe de papi", "name", "lampe de papi", "lampe de papi"),
    ("apaga la tostadora", "name", "tostadora", "Tostadora"),
    ("doe de serre uit", "area", "serre", "Serre"),
]


@pytest.mark.parametrize(("text", "name", "part", "value"), NAMES)
def test_a_declared_name_is_found_as_the_home_calls_it(text: str, name: str, part: str, value: str) -> None:
    slots = finder(HOME).slots(text)
    assert (name, part, value) in [(each.name, each.text, each.value) for each in slots]


@pytest.mark.parametrize("text", ["...", "", "🙂", "a " * 500])
def test_a_text_without_words_has_no_slots_and_a_long_one_is_read(text: str) -> None:
    assert isinstance(finder().slots(text), tuple)


def test_a_slot_goes_on_only_where_it_has_begun() -> None:
    logits = np.zeros((3, 5))
    logits[0, 2] = logits[1, 4] = 9.0  # inside of nothing
    logits[2, 3] = 9.0
    assert likeliest_labels(logits).tolist() in ([0, 0, 3], [1, 2, 3], [0, 3, 3], [1, 0, 3], [3, 4, 3])


# Packages


def test_a_package_keeps_its_tagger_and_an_older_one_has_none(tmp_path: Path) -> None:
    save_package(tmp_path / "new", with_slots())
    save_package(tmp_path / "old", assistant())
    again = load_student(tmp_path / "new")
    assert (again.slots, again.slots_graph) == (with_slots().slots, with_slots().slots_graph)
    check_package(again)
    assert load_student(tmp_path / "old").slots is None
    assert SlotFinder.of_package(load_student(tmp_path / "old")) is None
    assert predict_intents(load_student(tmp_path / "old"), "turn on the radio").slots == ()


def test_a_schema_without_its_tagger_is_refused() -> None:
    with pytest.raises(InvalidValue, match="belong together"):
        replace(assistant(), slots=b"{}")


@pytest.mark.parametrize(
    ("fields", "error", "problem"),
    [
        ({"slots": b"{}"}, PackageError, r"slots: slots\.json"),
        ({"slots_graph": b"no graph"}, PackageError, r"graph: slots\.onnx"),
    ],
)
def test_a_damaged_tagger_is_refused_before_it_is_installed(
    fields: dict[str, bytes], error: type[FedstillError], problem: str
) -> None:
    with pytest.raises(error, match=problem):
        check_package(replace(with_slots(), **fields))


def test_a_tagger_of_other_slots_is_refused() -> None:
    other = replace(with_slots(), slots=SlotSchema(("area",)).to_json())
    with pytest.raises(WireError, match=r"slots\.onnx"):
        SlotFinder.of_package(other)
    with pytest.raises((WireError, GraphError)):
        SlotFinder.of_graph(tagger().schema, assistant().inference_graph)


# Agents


@pytest.fixture
def home(tmp_path: Path) -> AgentHome:
    return home_of(tmp_path / "home", with_slots())


def test_an_app_gets_the_slots_that_the_agent_finds(home: AgentHome) -> None:
    text = "turn on the radio for an hour and a half 😀 at 50%"
    with (
        serving_lock(home) as address,
        Agent.open(home.folder) as agent,
        running(agent, address, home.socket, threading.Event()),
        AgentClient(home.folder) as client,
    ):
        understood = client.predict_text(text)
        assert understood == agent.predict_text(text)
    values = {each.name: (each.text, each.value, each.unit) for each in understood.slots}
    assert values["duration"] == ("an hour and a half", 5400, "seconds")
    assert values["number"] == ("50%", 50, "percent")
    assert all(text[each.begin : each.end] == each.text for each in understood.slots)


def test_names_are_declared_and_found_at_once(home: AgentHome) -> None:
    run = CliRunner()
    at = ["--home", str(home.folder)]
    with Agent.open(home.folder) as agent:
        before = agent.predict_text("start zzyzx").slots
        added = run.invoke(app, ["names", "--thing", "Zzyzx", "--area", "Attic nook", "--json", *at])
        after = agent.predict_text("start zzyzx").slots
    assert json.loads(added.output) == {"areas": ["Attic nook"], "things": ["Zzyzx"]}
    assert "Zzyzx" not in [each.value for each in before]
    assert "Zzyzx" in [each.value for each in after]
    assert home.names.stat().st_mode & 0o077 == 0

    assert "Attic nook" in run.invoke(app, ["names", *at]).output
    run.invoke(app, ["names", "--remove", "Zzyzx", *at])
    assert json.loads(run.invoke(app, ["names", "--json", *at]).output)["things"] == []
    gone = run.invoke(app, ["names", "--remove", "Zzyzx", *at])
    assert isinstance(gone.exception, FedstillError)
    assert "'Zzyzx' is none of the names" in str(gone.exception)
    run.invoke(app, ["names", "--clear", *at])
    assert json.loads(run.invoke(app, ["names", "--json", *at]).output)["areas"] == []


def test_a_wrong_file_of_names_is_refused_and_changes_nothing(home: AgentHome, tmp_path: Path) -> None:
    file = tmp_path / "names.json"
    file.write_text('{"areas": ["Sauna", 7]}')
    refused = CliRunner().invoke(app, ["names", "--input", str(file), "--home", str(home.folder)])
    assert isinstance(refused.exception, HomeNamesError)
    assert "areas" in str(refused.exception)
    assert not home.names.exists()


def test_predict_shows_slots(home: AgentHome) -> None:
    command = ["predict", "--text", "turn on the radio at fifty percent", "--home", str(home.folder)]
    shown = json.loads(CliRunner().invoke(app, [*command, "--json"]).output)
    number = next(each for each in shown["slots"] if each["name"] == "number")
    assert number == {
        "name": "number",
        "text": "fifty percent",
        "begin": 21,
        "end": 34,
        "value": 50,
        "unit": "percent",
    }
    assert "fifty percent" in CliRunner().invoke(app, command).output


ENTITIES = [
    ("HassLightSet", SlotValue("number", "50%", 0, 3, 50, "percent"), [("brightness", 50)]),
    ("HassLightSet", SlotValue("number", "3000K", 0, 5, 3000, "kelvin"), [("temperature", 3000)]),
    ("HassSetVolume", SlotValue("number", "7", 0, 1, 7), [("volume_level", 7)]),
    ("HassSetPosition", SlotValue("number", "7", 0, 1, 7), [("position", 7)]),
    ("Other", SlotValue("number", "7", 0, 1, 7), [("number", 7)]),
    (
        "HassStartTimer",
        SlotValue("duration", "x", 0, 1, 5410),
        [("hours", 1), ("minutes", 30), ("seconds", 10)],
    ),
    ("HassStartTimer", SlotValue("timer", "pizza", 0, 5, "pizza"), [("name", "pizza")]),
    ("HassLightSet", SlotValue("color", "rot", 0, 3, {"name": "red", "hex": "#ff0000"}), [("color", "red")]),
    ("HassTurnOn", SlotValue("area", "sauna", 0, 5, "Sauna"), [("area", "Sauna")]),
    ("HassTurnOn", SlotValue("number", "many", 0, 4, None), [("number", "many")]),
    ("HassMediaSearchAndPlay", SlotValue("query", "queen", 0, 5, "queen"), [("search_query", "queen")]),
]


@pytest.mark.parametrize(("intent", "slot", "entities"), ENTITIES)
def test_slots_are_home_assistants_entities(
    intent: str, slot: SlotValue, entities: list[tuple[str, object]]
) -> None:
    understood = Understanding((ScoredIntent(intent, 1.0),), True, (slot,))
    assert entities_of(understood) == entities
