"""An agent and what asks for nothing: it is never sure of it, whatever it has heard and learned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fedstill_client.agent.agent import Agent
from fedstill_client.agent_types import PersonalizeOptions
from fedstill_client.model.answering_student import with_class_kept
from fedstill_client.model.label_prior import own_log_prior
from fedstill_proto.errors import InvalidValue
from fedstill_proto.text.intents import OUT_OF_SCOPE

from tests.client.spoken_home import spoken_assistant, spoken_data
from tests.client.utterance_samples import home_of

OUT_OF_SCOPE_TEXTS = (  # the first twelve are those of a report
    *("book me a flight to rome", "order a pizza", "call my mother", "read my emails", "do you love me"),
    *(
        "sing a song",
        "banana split recipe",
        "the",
        "230",
        "no",
        "who painted the mona lisa",
        "when is easter",
    ),
    *("my knee has been hurting since monday", "send my tax return", "which bus goes to oslo", "umbrella"),
    *("do fish sleep", "block my bank card", "the kids are at school", "what is the opposite of generous"),
    *(
        "wie viele einwohner hat leipzig",
        "mein zug kommt spät",
        "quelle est la population de lyon",
        "parapluie",
    ),
    *(
        "llévame a lisboa",
        "duermen los peces",
        "hoe oud is de koning",
        "wat een heerlijke dag",
        "42",
        "of course",
    ),
)
NEGATED = (
    *("don't turn on the kitchen light", "please do not lock the front door", "turn nothing on"),
    *(
        "never switch off the radio",
        "you must not open the garage door",
        "don't start the vacuum cleaner yet",
    ),
    *(
        "do not set a timer for five minutes",
        "i don't want you to pause the music",
        "no need to close the blinds",
    ),
    *(
        "dont add milk to the shopping list",
        "don't turn the thermostat up",
        "do not turn on the veranda lamp",
    ),
    *("kein licht anmachen", "mach das licht nicht an", "schalte den fernseher bitte nicht aus"),
    *("n'allume pas", "n'ouvre pas la porte du garage", "ne ferme pas les volets du salon"),
    *("no enciendas", "no apagues la luz de la cocina", "por favor no abras la puerta del garaje"),
    *("doe het licht niet aan", "zet de radio niet uit", "open de garagedeur niet"),
)
SUPPOSED_OR_REPORTED = (
    *(
        "what if i turned on the light",
        "if it rains, close the windows",
        "imagine you opened the garage door",
    ),
    *("she said turn on the light", "he turned the light on yesterday", "did you turn on the fan yesterday"),
    *("my father said lock the front door", "somebody turned off the radio while i slept"),
    *("er hat gestern das licht eingeschaltet", "was wäre, wenn ich das licht anmachen würde"),
    *("elle a dit allume la lumière", "il a allumé la lampe hier", "ella dijo apaga la luz"),
    *("encendió la luz ayer", "ze zei doe het licht aan", "hij heeft gisteren het licht aangedaan"),
)
HEARD = (
    *("turn on the kitchen light", "switch on the fan in the bedroom", "turn on the hallway lights"),
    *("activate the desk lamp", "power on the radio"),
)
ASK_FOR_NOTHING = (*OUT_OF_SCOPE_TEXTS, *NEGATED, *SUPPOSED_OR_REPORTED)


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """One that heard nothing; tests that observe forget it again."""
    home = home_of(tmp_path_factory.mktemp("spoken") / "home", spoken_assistant())
    with Agent.open(home.folder) as opened:
        yield opened
        opened.forget(everything=True)


@pytest.mark.parametrize("text", ASK_FOR_NOTHING)
def test_what_asks_for_nothing_is_unsure(agent: Agent, text: str) -> None:
    understood = agent.predict_text(text)

    assert understood.intent is None, understood
    assert all(each.name != OUT_OF_SCOPE for each in understood.intents)


def test_what_asks_for_something_is_understood(agent: Agent) -> None:
    data = spoken_data()

    answers = [(agent.predict_text(each.text).intent, data.intents[each.intent]) for each in data.test]

    sure = [intent == meant for intent, meant in answers if intent is not None]
    # It saw 240 utterances of each language; benchmarks/out_of_scope.py measures a whole one.
    assert len(sure) > 0.2 * len(answers)
    assert np.mean(sure) >= 0.9


@pytest.mark.parametrize(
    ("intents", "each"), [(1, 5), (1, 100), (5, 20)], ids=["five of one", "100 of one", "20 of five"]
)
def test_what_was_heard_and_learned_leaves_it_unsure(tmp_path: Path, intents: int, each: int) -> None:
    data = spoken_data()
    said = {
        name: [one.text for one in data.labelled if data.intents[one.intent] == name]
        for name in ("HassTurnOn", "HassTurnOff", "HassLightSet", "HassMediaPause", "HassStartTimer")
    }
    said["HassTurnOn"] = [*HEARD, *said["HassTurnOn"]]
    with Agent.open(home_of(tmp_path / "home", spoken_assistant()).folder) as agent:
        for name, texts in list(said.items())[:intents]:
            agent.observe_intents(
                [(f"{texts[at % len(texts)]}{' now' * (at // len(texts))}", name) for at in range(each)]
            )
        heard = [text for text in ASK_FOR_NOTHING if agent.predict_text(text).sure]
        agent.personalize(PersonalizeOptions(epochs=10))
        learned = [text for text in ASK_FOR_NOTHING if agent.predict_text(text).sure]
        taught = agent.predict_text(said["HassTurnOn"][0])

    assert len(heard) <= 1, heard
    assert len(learned) <= 1, learned
    assert taught.intent == "HassTurnOn"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("set the kitchen light to 50%", "set the kitchen light to fifty percent"),
        ("set the volume to 30 percent", "set the volume to thirty percent"),
        ("set a timer for 5 minutes", "set a timer for five minutes"),
        ("turn the heating to 21 degrees", "turn the heating to twenty one degrees"),
        ("stell das licht auf 50%", "stell das licht auf fünfzig Prozent"),
        ("stelle einen timer auf 25 minuten", "stelle einen timer auf fünfundzwanzig minuten"),
        ("règle la lumière sur 80%", "règle la lumière sur quatre-vingts pour cent"),
        ("mets un minuteur de 10 minutes", "mets un minuteur de dix minutes"),
        ("pon la luz al 40%", "pon la luz al cuarenta por ciento"),
        ("pon un temporizador de 15 minutos", "pon un temporizador de quince minutos"),
        ("zet het licht op 60%", "zet het licht op zestig procent"),
        ("zet een timer van 12 minuten", "zet een timer van twaalf minuten"),
    ],
)
def test_a_number_in_words_means_what_it_means_in_digits(agent: Agent, one: str, other: str) -> None:
    assert agent.predict_text(one) == agent.predict_text(other)


def test_what_its_owner_taught_is_not_what_denies_it(tmp_path: Path) -> None:
    with Agent.open(home_of(tmp_path / "home", spoken_assistant()).folder) as agent:
        agent.observe_intents(
            [(f"start rosie {word}".strip(), "HassVacuumStart") for word in ("", "now", "today")]
        )
        agent.observe_intents([("rosie is my aunt", OUT_OF_SCOPE)])

        assert agent.predict_text("start rosie").intent == "HassVacuumStart"
        assert agent.predict_text("don't start rosie").intent is None
        assert agent.predict_text("rosie is my aunt").intent is None
        with pytest.raises(InvalidValue, match=r"none of the 42 that the .* nearest is 'HassTurnOn'"):
            agent.observe_intents([("foo bar", "hassTurnOn")])


def test_a_prior_that_leaves_a_class_alone_by_hand() -> None:
    labels = np.array([0, 0, 0, 2])

    prior = own_log_prior(labels, classes=3, owner_share=0.5, reserved=2)
    kept = with_class_kept(np.array([[0.6, 0.2, 0.2]]), np.log(np.array([3.0, 1.0, 1.0], np.float32)), 2)

    np.testing.assert_array_equal(prior[:2], own_log_prior(labels[:3], classes=2, owner_share=0.5))
    assert prior[2] == 0
    # Without the prior 0.2, 0.2 and 0.2: a third each, and the third stays one.
    np.testing.assert_allclose(kept, [[0.5, 1 / 6, 1 / 3]], rtol=1e-5)
