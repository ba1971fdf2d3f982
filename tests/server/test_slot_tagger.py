"""A fleet's tagger of slots: made of a table with marks, kept beside its intents, put into packages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fedstill_proto.package.artifact import SLOTS_FILE, SLOTS_GRAPH_FILE
from fedstill_proto.text.slots import SlotSchema, unmarked
from fedstill_proto.text.utterances import UtterancesError
from fedstill_server.data.errors import ExamplesError
from fedstill_server.tasks.interface import PackageFiles
from fedstill_server.tasks.utterances.slots.fleet_files import made_slot_files, with_slot_files
from fedstill_server.tasks.utterances.slots.invented import Inventor, MarkedText

ROOMS, THINGS = ("kitchen", "garage", "attic"), ("lamp", "radio", "kettle")
LINES = [
    *(f"turn on the [{thing}](name) in the [{room}](area),on" for thing in THINGS for room in ROOMS),
    *(f"turn the [{thing}](name) off,off" for thing in THINGS),
    "what time is it,time",
]


def table(folder: Path, lines: list[str]) -> Path:
    file = folder / "public.csv"
    file.write_text("\n".join(["text,label", *lines, ""]))
    return file


def test_a_marked_table_makes_a_tagger_that_a_device_reads(tmp_path: Path) -> None:
    from fedstill_client.model.slots import SlotFinder

    made = made_slot_files(table(tmp_path, LINES[::2]), seed=0)
    schema = SlotSchema.from_json(made[SLOTS_FILE])
    found = SlotFinder.of_graph(schema, made[SLOTS_GRAPH_FILE]).slots("turn on the zorbo in the sauna")

    assert schema.names == ("area", "name")
    assert [(each.name, each.text) for each in found] == [("name", "zorbo"), ("area", "sauna")]
    assert len(made[SLOTS_GRAPH_FILE]) < 500_000


def test_a_tagger_learns_the_same_of_the_same_seed(tmp_path: Path) -> None:
    file = table(tmp_path, LINES[:1])
    assert made_slot_files(file, seed=0) == made_slot_files(file, seed=0)


def test_a_package_gets_what_the_fleet_keeps(tmp_path: Path) -> None:
    files = PackageFiles(intents=b"{}")
    assert with_slot_files(files, tmp_path) == files

    (tmp_path / SLOTS_FILE).write_bytes(SlotSchema(("area",)).to_json())
    with pytest.raises(ExamplesError, match=r"slots\.onnx: cannot be read"):
        with_slot_files(files, tmp_path)
    (tmp_path / SLOTS_GRAPH_FILE).write_bytes(b"graph")
    assert with_slot_files(files, tmp_path).slots_graph == b"graph"
    (tmp_path / SLOTS_FILE).write_bytes(b"{")
    with pytest.raises(ExamplesError, match=r"slots\.json: .*no JSON"):
        with_slot_files(files, tmp_path)


def test_a_table_without_marks_makes_none(tmp_path: Path) -> None:
    assert made_slot_files(table(tmp_path, ["turn on the lamp,on", "stop,off"]), seed=0) == {}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("the [lamp](Name),on", r"line 2: .*'Name' is no name of a slot"),
        ("the [](name),on", "line 2: .*marks nothing"),
        ("the [lamp ](name),on", "line 2: .*marks nothing, or spaces"),
        ("the lamp](name),on", "line 2: .*no \\[text\\]\\(slot\\)"),
    ],
)
def test_a_wrong_mark_is_refused_with_file_and_line(tmp_path: Path, line: str, problem: str) -> None:
    with pytest.raises(UtterancesError, match=rf"public\.csv: {problem}"):
        made_slot_files(table(tmp_path, [line]), seed=0)


def test_too_many_slots_are_refused(tmp_path: Path) -> None:
    lines = [f"the [lamp](slot{number}),on" for number in range(65)]
    with pytest.raises(ExamplesError, match="65 slots"):
        made_slot_files(table(tmp_path, lines), seed=0)


def test_what_is_said_anew_keeps_its_words_and_marks_other_names() -> None:
    said = [MarkedText(*unmarked(line.rsplit(",", 1)[0])) for line in LINES]
    inventor, random = Inventor.of_table(said), np.random.default_rng(0)
    anew = [inventor.anew(said[0], random) for _ in range(50)]
    names = {each.text[span.begin : span.end] for each in anew for span in each.spans}

    assert all(each.text.startswith("turn on the ") and " in the " in each.text for each in anew)
    assert len(names) > 20
    assert all(name == name.strip() and name for name in names)
    assert any(inventor.home(each, random) is None for each in anew)


@pytest.fixture(scope="module")
def german() -> Inventor:
    lines = (
        "mach die lampe im [wohnzimmer](area) an",
        "mach das licht in der [küche](area) aus",
        "stelle den [ventilator](name) in der [küche](area) auf aus",
        "sag allen im haus dass [das essen jetzt fertig ist](message)",
        "sag allen im haus dass [wir gleich alle nach hause kommen](message)",
        "spiele [etwas jazz](query) auf dem [radio im flur](name)",
    )
    return Inventor.of_table([MarkedText(*unmarked(line)) for line in lines])


def said_instead(inventor: Inventor, line: str) -> set[str]:
    random = np.random.default_rng(3)
    anew = [inventor.anew(MarkedText(*unmarked(line)), random) for _ in range(300)]
    return {each.text[span.begin : span.end] for each in anew for span in each.spans}


def test_invented_rooms_keep_the_end_of_long_names(german: Inventor) -> None:
    names = said_instead(german, "mach die lampe im [wohnzimmer](area) an")
    rooms = {name for name in names if name.endswith("immer")} - {"wohnzimmer"}
    assert len(rooms) > 10
    assert {"wohnzimmer", "küche"} <= names  # most homes have the same rooms
    assert any(name.split()[-1] == "küche" and " " in name for name in names)


def test_invented_things_keep_a_word_of_longer_names(german: Inventor) -> None:
    names = said_instead(german, "stelle das [radio im flur](name) auf aus")
    longer = {name for name in names if " im " in name} - {"radio im flur"}
    assert any(name.startswith("radio im ") for name in longer)
    assert any(name.endswith(" im flur") for name in longer)
    assert any(not name.startswith("radio") and not name.endswith("flur") for name in longer)


def test_messages_become_sentences_in_the_language_of_the_utterance(german: Inventor) -> None:
    messages = said_instead(german, "sag allen im haus dass [das essen jetzt fertig ist](message)")
    assert "ach du meine güte" in messages
    assert not messages & {"hello there", "bonjour toi"}
    assert not any("{" in message for message in messages)
    assert max(len(message.split()) for message in messages) > 6
