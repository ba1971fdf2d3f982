"""Slots: their schema, marks in tables, values, and the names of a home."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.text.slot_words import FEATURES, GRAMS, KnownNames, slot_words
from fedstill_proto.text.slots import (
    HomeNames,
    SlotKind,
    SlotSchema,
    SlotSpan,
    closest_name,
    marked,
    slot_value,
    unmarked,
)
from fedstill_proto.text.utterances import UtterancesError, read_slotted_utterances, read_utterances

SCHEMA = SlotSchema(("area", "color", "duration", "item", "name", "number", "temperature"))


def test_a_schema_comes_back_from_its_file() -> None:
    again = SlotSchema.from_json(SCHEMA.to_json())
    assert again == SCHEMA
    assert again.kinds[:3] == (SlotKind.AREA, SlotKind.COLOR, SlotKind.DURATION)
    assert again.labels == 15


def changed(**fields: object) -> bytes:
    return json.dumps({**json.loads(SCHEMA.to_json()), **fields}).encode()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no JSON"),
        (b"[" * 30_000, "no JSON"),
        (b"[]", "no object"),
        (b"{}", "no object"),
        (b" " * (1 << 17), "more than"),
        (changed(more=1), "no object"),
        (changed(tokenizer="words"), "tokenizer: 'words'"),
        (changed(buckets="many"), "buckets: 'many'"),
        (changed(buckets=1), "buckets: 1"),
        (changed(buckets=True), "buckets: True"),
        (changed(slots=[]), "0 slots"),
        (changed(slots=[1]), "no list of objects"),
        (changed(slots=[{"name": "area"}]), "no object of name and kind"),
        (changed(slots=[{"name": "A b", "kind": "text"}]), "'A b' is no name of a slot"),
        (changed(slots=[{"name": "area", "kind": "text"}]), "'text' of 'area'; it is 'area'"),
        (changed(slots=[{"name": "a", "kind": "text"}] * 2), "a name is there twice"),
        (changed(slots=[{"name": f"a{n}", "kind": "text"} for n in range(65)]), "65 slots"),
        (changed(known_words="?"), "no text in base64"),
        (changed(known_words=5), "no text in base64"),
        (changed(known_words="AAAA"), "3 bytes"),
    ],
)
def test_a_wrong_schema_is_refused_by_field_and_value(content: bytes, problem: str) -> None:
    with pytest.raises(WireError, match=r"slots\.json") as refused:
        SlotSchema.from_json(content)
    assert problem in str(refused.value)


MARKS = [
    "turn on the [light](name) in the [living room](area)",
    "stelle [opas lampe](name) auf [fünfzig prozent](number)",
    "[éteins](x) la [lumière de l'entrée](name)",
    "👋 [😀 lamp](name)",
    "no slots here",
    "[a](b)",
]


@pytest.mark.parametrize("text", MARKS)
def test_marks_come_off_and_on_again(text: str) -> None:
    plain, spans = unmarked(text)
    assert marked(plain, spans) == text
    assert all(plain[each.begin : each.end] in text for each in spans)


@pytest.mark.parametrize(
    "text",
    ["[](area)", "[ room](area)", "[room ](area)", "[room](Area)", "[room](a b)", "[a[b](c)](d)", "x](y"],
)
def test_a_wrong_mark_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        unmarked(text)


def test_a_table_says_line_and_value_of_a_wrong_mark(tmp_path: Path) -> None:
    file = tmp_path / "public.csv"
    file.write_text("text,label\nturn on the [lamp](name),on\nturn off the [lamp](Name),off\n")
    with pytest.raises(UtterancesError, match=r"public\.csv: line 3: .*'Name' is no name of a slot"):
        read_slotted_utterances(file)


def test_who_reads_no_slots_gets_texts_without_marks(tmp_path: Path) -> None:
    file = tmp_path / "public.csv"
    file.write_text('text,label\nturn on the [lamp](name),on\n"sit, please",sit\n')
    assert read_utterances(file) == [("turn on the lamp", "on"), ("sit, please", "sit")]
    assert read_slotted_utterances(file)[0] == (2, "turn on the lamp", (SlotSpan("name", 12, 16),), "on")


HOME = HomeNames(("Living room", "Büro"), ("Rosie", "Opa's lamp"))

VALUES = [
    ("to [fifty percent](number)", 50, "percent"),
    ("to [50%](number)", 50, "percent"),
    ("auf [dreieinhalb](number)", 3.5, ""),
    ("à [vingt degrés](temperature)", 20, ""),
    ("to [68 F](temperature)", 68, "fahrenheit"),
    ("op [22 graden celsius](temperature)", 22, "celsius"),
    ("to [3000 kelvin](number)", 3000, "kelvin"),
    ("[an hour and a half](duration)", 5400, "seconds"),
    ("[halbe Stunde](duration)", 1800, "seconds"),
    ("[una hora y media](duration)", 5400, "seconds"),
    ("to [fifty](brightness)", 50, ""),
    ("[red](color)", {"name": "red", "hex": "#ff0000"}, ""),
    ("[Rotes](color) licht", {"name": "red", "hex": "#ff0000"}, ""),
    ("[bleue](color)", {"name": "blue", "hex": "#0000ff"}, ""),
    ("[amarillas](color)", {"name": "yellow", "hex": "#ffff00"}, ""),
    ("[groene](colour) lamp", {"name": "green", "hex": "#008000"}, ""),
    ("[türkis](color)", {"name": "turquoise", "hex": "#40e0d0"}, ""),
    ("[warm white](color)", {"name": "warm white", "hex": "#ffd6aa"}, ""),
    ("[blanc froid](color)", {"name": "cold white", "hex": "#e1ecff"}, ""),
    ("[hellblau](color)", {"name": "lightblue", "hex": "#add8e6"}, ""),
    ("[paarse](color)", {"name": "purple", "hex": "#800080"}, ""),
    ("[rosa](color)", {"name": "pink", "hex": "#ffc0cb"}, ""),
    ("[the colour of love](color)", None, ""),
    ("[many](number)", None, ""),
    ("in the [livingroom](area)", "Living room", ""),
    ("in the [LIVING ROOM](area)", "Living room", ""),
    ("im [buero](area)", "Büro", ""),
    ("im [Büros](area)", "Büro", ""),
    ("im [büro](area)", "Büro", ""),
    ("start [rosi](name)", "Rosie", ""),
    ("[opas lamp](name)", "Opa's lamp", ""),
    ("[opa’s lamp](name)", "Opa's lamp", ""),
    ("start [gizmo](name)", "gizmo", ""),
    ("buy [two apples](item)", "two apples", ""),
]


@pytest.mark.parametrize(("text", "value", "unit"), VALUES)
def test_what_a_slot_means(text: str, value: object, unit: str) -> None:
    plain, (span,) = unmarked(text)
    slot = slot_value(plain, span, home=HOME)
    assert (slot.value, slot.unit) == (value, unit)
    assert slot.text == plain[slot.begin : slot.end]


def test_of_names_that_are_alike_the_closest_is_meant() -> None:
    assert closest_name("lamp one", ("Lamp two", "Lamp One")) == "Lamp One"
    assert closest_name("lamp", ()) is None
    assert closest_name("kitchen", ("Garage",)) is None


def test_a_thousand_names_cost_little() -> None:
    names = tuple(f"lamp of room number {number}" for number in range(1000))
    began = time.process_time()
    assert closest_name("lamp of room numbr 999", names) is not None
    assert closest_name("something else", names) is None
    assert time.process_time() - began < 0.3


def test_no_text_breaks_the_reading_of_words() -> None:
    random = np.random.default_rng(0)
    signs = [
        *"aé½%°5,.- '’[]()",
        "\u0308",
        "\u00ad",
        "ß",
        "İ",
        "ﾞ",
        "๓",
        "😀",
        "\ud800",
        "ｋ",
        "２",
        "一",
        "\0",
    ]
    for _ in range(300):
        text = "".join(random.choice(signs) for _ in range(int(random.integers(40))))
        words = slot_words(text, SCHEMA, known=KnownNames.of_home(HOME))
        assert np.isfinite(words.features).all()
        assert all(0 <= begin < end <= len(text) for begin, end in words.places)
        assert all(0 <= each.begin < each.end <= len(text) for each in words.quantities)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"x", "no JSON"),
        (b'{"rooms": []}', "no object"),
        (b'{"areas": "Sauna"}', "areas"),
        (b'{"things": [1]}', "things"),
        (b'{"things": [""]}', "things[0]"),
        (json.dumps({"things": ["a" * 61]}).encode(), "things[0]"),
        (json.dumps({"areas": ["Sauna", "a\nb"]}).encode(), "areas[1]"),
        (json.dumps({"areas": [f"room {n}" for n in range(1001)]}).encode(), "1001 names"),
        (b" " * (1 << 19), "more than"),
    ],
)
def test_wrong_names_of_a_home_are_refused(content: bytes, problem: str) -> None:
    with pytest.raises(WireError) as refused:
        HomeNames.from_json(content)
    assert problem in str(refused.value)


def test_a_homes_names_come_back_trimmed_and_in_one_form() -> None:
    names = HomeNames.of_lists([" Bu\u0308ro "], ["Rosie"])
    assert HomeNames.from_json(names.to_json()) == HomeNames(("Büro",), ("Rosie",))


def test_words_have_places_in_characters_whatever_stands_before_them() -> None:
    text = "😀 Schalte fu\u0308nfzig ＬＥＤ an"
    words = slot_words(text, SCHEMA)
    assert [text[begin:end] for begin, end in words.places] == ["Schalte", "fu\u0308nfzig", "ＬＥＤ", "an"]
    assert words.numbers.shape == (4, GRAMS)
    assert words.features.shape == (4, FEATURES)


def test_all_ways_to_say_a_quantity_have_the_same_numbers() -> None:
    one, other = (slot_words(text, SCHEMA).numbers for text in ("to 50%", "to fünfzig Prozent"))
    assert np.array_equal(one[1], other[1])


def test_labels_begin_and_go_on() -> None:
    text, spans = unmarked("turn on the [light](name) in the [living room](area)s")
    labels = slot_words(text, SCHEMA).labels(spans, SCHEMA.names)
    assert labels.tolist() == [0, 0, 0, 9, 0, 0, 1, 2]


def test_declared_names_are_found_however_they_are_written() -> None:
    known = KnownNames.of_home(HOME)
    named = slot_words("OPA’S LAMP in the living-room", SCHEMA, known=known).named
    assert named == [(SlotKind.AREA, range(5, 7)), (SlotKind.NAME, range(3))]


@pytest.mark.parametrize("text", ["", "...", "🙂", "\u0308", "ﾞ"])
def test_a_text_without_words_has_none(text: str) -> None:
    assert slot_words(text, SCHEMA).features.shape[1] == FEATURES


def test_a_text_that_is_too_long_is_refused() -> None:
    with pytest.raises(InvalidValue, match="1001 characters"):
        slot_words("a" * 1001, SCHEMA)
