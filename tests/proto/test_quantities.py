"""Percentages, degrees, kelvin and durations in five languages: where they stand, and what they are."""

from __future__ import annotations

import time

import pytest
from fedstill_proto.text.quantities import QuantityKind, find_quantities

NUMBER, PERCENT, TEMPERATURE, KELVIN, DURATION = QuantityKind

SAID = [
    ("an hour and a half", "an hour and a half", DURATION, 5400, "seconds"),
    ("set a timer for one and a half hours please", "one and a half hours", DURATION, 5400, "seconds"),
    ("in half an hour", "half an hour", DURATION, 1800, "seconds"),
    ("a quarter of an hour", "a quarter of an hour", DURATION, 900, "seconds"),
    ("5 minutes", "5 minutes", DURATION, 300, "seconds"),
    ("a 5-minute timer", "5-minute", DURATION, 300, "seconds"),
    ("1 hour, 30 minutes and 10 seconds", "1 hour, 30 minutes and 10 seconds", DURATION, 5410, "seconds"),
    ("wait 1h30", "1h30", DURATION, 5400, "seconds"),
    ("wait 90s.", "90s", DURATION, 90, "seconds"),
    ("two days", "two days", DURATION, 172_800, "seconds"),
    ("eine halbe Stunde", "eine halbe Stunde", DURATION, 1800, "seconds"),
    ("Timer auf anderthalb Stunden", "anderthalb Stunden", DURATION, 5400, "seconds"),
    ("eine Dreiviertelstunde", "eine Dreiviertelstunde", DURATION, 2700, "seconds"),
    (
        "zwei Stunden und fünfzehn Minuten",
        "zwei Stunden und fünfzehn Minuten",
        DURATION,
        8100,
        "seconds",
    ),
    ("une heure et demie", "une heure et demie", DURATION, 5400, "seconds"),
    ("une demi-heure", "une demi-heure", DURATION, 1800, "seconds"),
    ("trois quarts d'heure", "trois quarts d'heure", DURATION, 2700, "seconds"),
    ("deux heures trente", "deux heures trente", DURATION, 9000, "seconds"),
    ("una hora y media", "una hora y media", DURATION, 5400, "seconds"),
    ("media hora", "media hora", DURATION, 1800, "seconds"),
    ("dos minutos y medio", "dos minutos y medio", DURATION, 150, "seconds"),
    ("tres cuartos de hora", "tres cuartos de hora", DURATION, 2700, "seconds"),
    ("anderhalf uur", "anderhalf uur", DURATION, 5400, "seconds"),
    ("een kwartier", "een kwartier", DURATION, 900, "seconds"),
    ("drie kwartier", "drie kwartier", DURATION, 2700, "seconds"),
    ("een uur en tien minuten", "een uur en tien minuten", DURATION, 4200, "seconds"),
    ("20 degrees", "20 degrees", TEMPERATURE, 20, ""),
    ("to 68°F now", "68°F", TEMPERATURE, 68, "fahrenheit"),
    ("sixty-eight degrees fahrenheit", "sixty-eight degrees fahrenheit", TEMPERATURE, 68, "fahrenheit"),
    ("20,5 Grad Celsius", "20,5 Grad Celsius", TEMPERATURE, 20.5, "celsius"),
    ("minus fünf Grad", "minus fünf Grad", TEMPERATURE, -5, ""),
    ("vingt degrés", "vingt degrés", TEMPERATURE, 20, ""),
    ("veintiún grados", "veintiún grados", TEMPERATURE, 21, ""),
    ("twintig graden", "twintig graden", TEMPERATURE, 20, ""),
    ("20 C", "20 C", TEMPERATURE, 20, "celsius"),
    ("21.5 °C", "21.5 °C", TEMPERATURE, 21.5, "celsius"),
    ("3000K", "3000K", KELVIN, 3000, "kelvin"),
    ("auf 2700 Kelvin", "2700 Kelvin", KELVIN, 2700, "kelvin"),
    ("fünfzig Prozent", "fünfzig Prozent", PERCENT, 50, "percent"),
    ("à quatre-vingts pour cent", "quatre-vingts pour cent", PERCENT, 80, "percent"),
    ("al cincuenta por ciento", "cincuenta por ciento", PERCENT, 50, "percent"),
    ("naar 33 procent", "33 procent", PERCENT, 33, "percent"),
    ("channel seven", "seven", NUMBER, 7, ""),
]


@pytest.mark.parametrize(("text", "part", "kind", "value", "unit"), SAID)
def test_a_quantity_is_found_whole(text: str, part: str, kind: QuantityKind, value: float, unit: str) -> None:
    (found,) = find_quantities(text)
    assert text[found.begin : found.end] == part
    assert (found.kind, float(found.value), found.unit) == (kind, value, unit)


@pytest.mark.parametrize(
    "text", ["", "turn on a light", "second floor", "an hourglass", "die minute", "le degré", "%", "°"]
)
def test_what_is_no_quantity_is_none(text: str) -> None:
    assert find_quantities(text) == []


def test_two_durations_are_two() -> None:
    text = "add 5 minutes to my 1 hour timer"
    assert [float(each.value) for each in find_quantities(text)] == [300, 3600]


@pytest.mark.parametrize("text", ["1 hour " * 140, "half " * 200, "a " * 500, "1h" * 500, "°" * 1000])
def test_no_text_takes_long(text: str) -> None:
    began = time.process_time()
    find_quantities(text[:1000])
    assert time.process_time() - began < 0.5
