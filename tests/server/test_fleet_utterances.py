"""Tables of utterances that a fleet of assistants cannot be made of (tests/system has a whole fleet)."""

from __future__ import annotations

from pathlib import Path

import pytest
from fedstill_proto.text.utterances import UtterancesError, read_utterances
from fedstill_server.data.errors import ExamplesError
from fedstill_server.tasks.utterances.pipeline import AssistantPlan
from fedstill_server.tasks.utterances.tables import read_fleet_utterances

THINGS = ("lamp", "radio", "heater", "fan", "tv", "kettle")
VERBS = {"off": "turn off the {}", "on": "turn on the {}", "time": "what time is it in the {}"}
PLAN = AssistantPlan(families=("ngrams-small",))
SAID = [f"{verb.format(thing)},{label}" for label, verb in VERBS.items() for thing in THINGS]


def table(file: Path, *lines: str) -> Path:
    file.write_text("\n".join(["text,label", *lines]))
    return file


def test_tables_that_do_not_fit_are_named(tmp_path: Path) -> None:
    public = table(tmp_path / "public.csv", *SAID)
    other = table(tmp_path / "test.csv", "dance,dance")

    with pytest.raises(ExamplesError, match=r"test\.csv: label 'dance' is none of those in .*public\.csv"):
        read_fleet_utterances(public, other, cache=tmp_path, plan=PLAN)
    with pytest.raises(ExamplesError, match=r"public\.csv: intents: 0 intents"):
        read_fleet_utterances(table(tmp_path / "public.csv", "hello,"), None, cache=tmp_path, plan=PLAN)
    with pytest.raises(UtterancesError, match="line 2: label is missing"):
        read_utterances(table(tmp_path / "more.csv", "hello,"))
