"""Sentences of the templates with their slots, at homes that share no names with public text."""

from __future__ import annotations

import json
from importlib import resources

import pytest
from fedstill_proto.text.slots import unmarked
from fedstill_sim.tasks.utterances.homes import languages
from fedstill_sim.tasks.utterances.slots import other_utterances, public_utterances


@pytest.mark.parametrize("language", languages())
def test_slots_stand_where_they_are_said(language: str) -> None:
    said = public_utterances(language, 60, seed=5)
    assert said == public_utterances(language, 60, seed=5)
    assert len({each.text for each in said}) == 60
    for each in said:
        assert unmarked(each.marked()) == (each.text, tuple(sorted(each.spans, key=lambda span: span.begin)))
        assert len(each.values) == len(each.spans)
    slots = {span.name for each in said for span in each.spans}
    assert {"area", "name", "duration"} <= slots


def test_other_homes_have_rooms_and_things_of_their_own() -> None:
    def words(file: str, language: str) -> set[str]:
        folder = resources.files("fedstill_sim.tasks.utterances")
        read = json.loads((folder / file).read_text(encoding="utf-8"))

        def flat(part: object) -> set[str]:
            if isinstance(part, dict):
                return set().union(*(flat(each) for each in part.values()))
            return set(part) if isinstance(part, list) else set()

        return flat(read["languages"][language]) | set(read.get("pets", ())) | set(read["people"])

    for language in languages():
        public = words("homes.json", language) | words("many_names.json", language)
        assert not words("other_homes.json", language) & public


def test_numbers_are_known_apart_from_the_text() -> None:
    values = [
        value
        for each, _ in other_utterances("en", 80, seed=1)
        for span, value in zip(each.spans, each.values, strict=True)
        if span.name in ("number", "duration", "temperature")
    ]
    assert sum(value is not None for value in values) > len(values) / 2 > 5
