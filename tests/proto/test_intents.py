"""What an assistant's package says of its intents."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.text.intents import IntentSchema
from fedstill_proto.text.ngrams import NgramHashing

SCHEMA = IntentSchema(("off", "on", "uñlock"), 1.5, 0.6, NgramHashing(buckets=100, places=8))


def test_there_and_back() -> None:
    assert IntentSchema.from_json(SCHEMA.to_json(), classes=3, places=8) == SCHEMA


def test_what_asks_for_nothing_is_never_shown_and_never_sure() -> None:
    schema = replace(SCHEMA, names=("off", "none asked", "on", "dim"), out_of_scope="none asked")
    read = IntentSchema.from_json(schema.to_json(), classes=4, places=8)

    nothing = schema.understood(np.array([0.1, 0.7, 0.15, 0.05]))
    something = schema.understood(np.array([0.1, 0.2, 0.65, 0.05]))

    assert read == schema
    assert (schema.nothing, schema.intents) == (1, ("off", "on", "dim"))
    assert [each.name for each in nothing.intents] == ["on", "off", "dim"]
    assert (nothing.sure, something.intent) == (False, "on")


def test_packages_made_before_are_read_as_they_were_made() -> None:
    content = json.loads(SCHEMA.to_json())
    assert content.pop("features") == 2

    old = IntentSchema.from_json(json.dumps(content).encode(), classes=3, places=8)

    assert (old.out_of_scope, old.nothing, old.hashing.version) == (None, None, 1)
    assert old.intents == old.names == SCHEMA.names
    assert (old.rows(["50%"]) != SCHEMA.rows(["50%"])).any()


def test_what_is_understood_by_hand() -> None:
    sure = SCHEMA.understood(np.array([0.1, 0.6, 0.3]), k=2)
    unsure = SCHEMA.understood(np.array([0.3, 0.5, 0.2]))

    assert [(each.name, each.confidence) for each in sure.intents] == [("on", 0.6), ("uñlock", 0.3)]
    assert (sure.sure, sure.intent) == (True, "on")
    assert (unsure.sure, unsure.intent) == (False, None)
    assert SCHEMA.number("uñlock") == 2
    with pytest.raises(InvalidValue, match="intent: 'up' is none of the 3"):
        SCHEMA.number("up")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"tokenizer": "words"}, "intents.json: tokenizer: 'words' is not 'ngrams'"),
        ({"buckets": 1}, "intents.json: buckets: 1"),
        ({"buckets": 1e300}, "intents.json: buckets"),
        ({"places": 9}, "intents.json: places: 9; the student takes 8"),
        ({"intents": ["a", "b"]}, "2; the student has 3 classes"),
        ({"intents": ["a", "b", 3]}, "is no list of names"),
        ({"intents": ["a", "b", "a"]}, "a name is there twice"),
        ({"intents": ["a", "b", "\n"]}, r"intents\[2\]"),
        ({"intents": ["a", "b", "x" * 101]}, r"intents\[2\]"),
        ({"temperature": 0}, "temperature: 0; give"),
        ({"temperature": float("nan")}, "temperature: nan"),
        ({"temperature": "hot"}, "temperature: 'hot' is no number"),
        ({"temperature": True}, "temperature: True is no number"),
        ({"threshold": 1.1}, "threshold: 1.1"),
        ({"threshold": float("nan")}, "threshold: nan"),
        ({"out_of_scope": "up"}, "out_of_scope: 'up' is none of the intents"),
        ({"out_of_scope": 3}, "out_of_scope: 3 is no name"),
        ({"features": 3}, "version: 3"),
        ({"features": "2"}, "version: '2'"),
        ({"more": 1}, "is no object of"),
    ],
)
def test_forgeries_are_refused_by_name(change: dict[str, Any], problem: str) -> None:
    forged = json.dumps({**json.loads(SCHEMA.to_json()), **change}).encode()

    with pytest.raises(WireError, match=problem):
        IntentSchema.from_json(forged, classes=3, places=8)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"\xff", b"[" * 100_000, b" " * ((1 << 20) + 1)])
def test_what_is_no_schema_is_refused(content: bytes) -> None:
    with pytest.raises(WireError, match=r"intents\.json"):
        IntentSchema.from_json(content, classes=3, places=8)
