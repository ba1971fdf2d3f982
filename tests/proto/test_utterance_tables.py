"""Tables of utterances: lines with too much or too little are refused by number, rare intents are found."""

from __future__ import annotations

from pathlib import Path

import pytest
from fedstill_proto.errors import InvalidValue
from fedstill_proto.text.intents import OUT_OF_SCOPE, IntentSchema, is_out_of_scope
from fedstill_proto.text.utterances import (
    UtterancesError,
    rare_labels,
    read_numbered_utterances,
    read_utterances,
)

GOOD = "text,label\nturn on lamp 0,On\nturn off lamp 0,Off\n"
NAMES = (
    "HassTurnOn",
    "HassTurnOff",
    "HassLightSet",
    "HassGetWeather",
    "BookFlight",
    "card_arrival",
    OUT_OF_SCOPE,
)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("turn on the light, please,On", "line 4: 3 values, more than the 2 columns"),
        ("turn on, now, the light,On", "line 4: 4 values, more than the 2 columns"),
        ("turn on the light,On,", "line 4: 3 values, more than the 2 columns"),
        ("turn on the light,,On", "line 4: 3 values, more than the 2 columns"),
        ('"turn on the light", please,On', "line 4: 3 values, more than the 2 columns"),
        ("turn on,On\nlight, please,On", "line 5: 3 values, more than the 2 columns"),
        ('"two\nlines",On\nlight, please,On', "line 6: 3 values, more than the 2 columns"),
        ("\n\nlight, please,On", "line 6: 3 values, more than the 2 columns"),
        ("turn on the light", "line 4: 1 of 2 values; put a comma behind"),
        ("turn on the light;On", "line 4: 1 of 2 values; put a comma behind"),
        ("turn on the light\tOn", "line 4: 1 of 2 values; put a comma behind"),
        ('"turn on the light, please"', "line 4: 1 of 2 values; put a comma behind"),
        ('"turn on the light,On', "line 4: "),
        (",On", "line 4: text '' holds no word"),
    ],
)
@pytest.mark.parametrize("labels_needed", [True, False])
def test_a_line_of_another_width_is_refused(
    tmp_path: Path, lines: str, problem: str, labels_needed: bool
) -> None:
    file = tmp_path / "said.csv"
    file.write_text(GOOD + lines + "\n")

    with pytest.raises(UtterancesError, match=f"said\\.csv: {problem}"):
        read_utterances(file, labels_needed=labels_needed)


def test_a_column_twice_is_refused_and_others_are_not_read(tmp_path: Path) -> None:
    file = tmp_path / "said.csv"
    file.write_text("text,label,label\na,b,c\n")
    with pytest.raises(UtterancesError, match=r"line 1: .* has a column twice"):
        read_utterances(file)

    file.write_text("who,text,label\nann,turn on,On\nbob,maybe,\n")
    assert read_numbered_utterances(file, labels_needed=False) == [(2, "turn on", "On"), (3, "maybe", "")]


def test_labels_of_one_utterance_are_found() -> None:
    labels = ["On", "Off", "On", "please", "", "Off", "on"]

    assert rare_labels(labels) == {"please": 3, "on": 6}


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        ("hassTurnOn", "HassTurnOn"),
        ("HASSTURNOFF", "HassTurnOff"),
        ("HassTurnon", "HassTurnOn"),
        ("HassLightset", "HassLightSet"),
        ("TurnOff", "HassTurnOff"),
        ("Hass TurnOn", "HassTurnOn"),
        ("HassGetWheather", "HassGetWeather"),
        ("bookflight", "BookFlight"),
        ("book_flight", "BookFlight"),
        ("card-arrival", "card_arrival"),
        ("Card Arrival", "card_arrival"),
        ("card_arival", "card_arrival"),
    ],
)
def test_an_unknown_intent_is_told_the_nearest(asked: str, nearest: str) -> None:
    schema = IntentSchema(NAMES, out_of_scope=OUT_OF_SCOPE)

    with pytest.raises(InvalidValue) as refused:
        schema.number(asked)

    assert str(refused.value).startswith(f"intent: {asked!r} is none of the 6 that")
    assert str(refused.value).endswith(f"; the nearest is {nearest!r}")


def test_names_of_nothing() -> None:
    schema = IntentSchema(NAMES, out_of_scope=OUT_OF_SCOPE)

    assert [schema.number(name) for name in ("oos", "None", "OUT_OF_SCOPE", "out of scope")] == [6] * 4
    assert not any(map(is_out_of_scope, ("no", "nothing_else", "HassNevermind", "", "unknown")))
    with pytest.raises(InvalidValue, match=r"'dance' is none of the 6 that the student tells apart$"):
        schema.number("dance")
    with pytest.raises(InvalidValue, match="'oos' is none of the 2"):
        IntentSchema(("a", "b")).number("oos")
