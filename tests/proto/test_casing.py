"""How words are written: counts by hand, a round trip, and tables that must be refused."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from fedstill_proto.errors import WireError
from fedstill_proto.text.casing import CaseCounts, CaseTable, capitalized, place_behind

TEXTS = (
    "Gestern war das Essen kalt. Wir essen bei Anna.",
    "Heute wollen wir essen. Das Essen von McDonald und NASA!",
    "Sagt Anna, wir essen das Essen?",
    "WIR ESSEN MIT ANNA",
    "Zebras schlafen. iPhones nicht.",
    "Er sagte: „Nie im Leben“, und ging. Er liest „Titanic“ gern",
)
WORDS = (
    "<unknown>",
    "<start>",
    ".",
    "essen",
    "wir",
    "das",
    "anna",
    "mcdonald",
    "nasa",
    "zebras",
    "iphones",
    "nie",
    "haus",
    "titanic",
)
NUMBERS = {word: number for number, word in enumerate(WORDS)}  # fmt: skip


def table() -> CaseTable:
    return CaseTable.of(CaseCounts.of(TEXTS), WORDS)


def form(word: str, previous: str = "<start>") -> str:
    return table().form(NUMBERS[word], word, NUMBERS[previous])


@pytest.mark.parametrize(
    ("word", "previous", "expected"),
    [
        ("anna", "<start>", "Anna"),
        ("mcdonald", "<start>", "McDonald"),
        ("nasa", "<start>", "NASA"),
        ("wir", "<start>", "wir"),
        ("essen", "das", "Essen"),
        ("essen", "wir", "essen"),
        ("zebras", "<start>", "zebras"),  # seen at the start of a sentence alone
        ("iphones", "<start>", "iPhones"),  # ... with a capital within
        ("nie", "<start>", "nie"),  # seen at the start of a quotation alone
        ("titanic", "<start>", "Titanic"),
        ("haus", "<start>", "haus"),  # never seen
    ],
)
def test_the_form_that_is_most_frequent(word: str, previous: str, expected: str) -> None:
    assert form(word, previous) == expected


def test_what_was_never_seen_is_known_to_be_so() -> None:
    assert [table().is_seen(NUMBERS[word]) for word in ("anna", "zebras", "haus")] == [True, True, False]
    assert not table().is_seen(len(WORDS))
    assert table().form(len(WORDS) + 3, "blorp", 4) == "blorp"


def test_unseen_words_are_written_as_those_with_their_ending() -> None:
    counts = CaseCounts.of(
        ["die Zeitung, die Meinung, die Warnung und die Ordnung waren lang und jung, hart, zart"]
    )
    words = ("<unknown>", "<start>", "rechnung", "lang", "apart")
    made = CaseTable.of(counts, words)

    assert [made.form(number, words[number], 0) for number in (2, 3, 4)] == ["Rechnung", "lang", "apart"]
    assert [made.is_seen(number) for number in (2, 3, 4)] == [False, True, False]


def test_the_counts_of_texts_in_any_order_are_the_same() -> None:
    tables = [CaseTable.of(CaseCounts.of(order), WORDS) for order in itertools.permutations(TEXTS[:3])]
    assert all(each.to_arrays()["usual"].tolist() == tables[0].usual.tolist() for each in tables)


def test_round_trip() -> None:
    made = table()
    read = CaseTable.from_arrays(made.to_arrays(), WORDS)

    for word, previous in itertools.product(WORDS, WORDS):
        number, before = NUMBERS[word], NUMBERS[previous]
        assert read.form(number, word, before) == made.form(number, word, before)
    assert len(CaseTable.from_arrays(CaseTable.of(CaseCounts(), WORDS).to_arrays(), WORDS)) == len(WORDS)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("usual", np.zeros(3, np.uint8)),
        ("usual", np.full(len(WORDS), 6, np.uint8)),
        ("usual", np.full(len(WORDS), 3, np.uint8)),
        ("usual", np.zeros(len(WORDS), np.int64)),
        ("usual", np.zeros((1, len(WORDS)), np.uint8)),
        ("special", np.array([0xFF], np.uint8)),
        ("special", np.frombuffer(b"McDonald", np.uint8)),
        ("special", np.frombuffer(b"Other\niPhones", np.uint8)),
        ("turn_histories", np.array([9, 3], np.uint64)),
        ("turn_histories", np.array([1 << 63], np.uint64)),
        ("turn_forms", np.array([4], np.uint8)),
        ("turn_forms", np.array([3], np.uint8)),
        ("turn_forms", np.zeros(9, np.uint8)),
        ("more", np.zeros(9, np.uint8)),
    ],
)
def test_a_hostile_table_is_refused(name: str, array: np.ndarray) -> None:
    arrays: dict[str, Any] = {**table().to_arrays(), name: array}
    with pytest.raises(WireError, match=r"lexicon\.safetensors: casing"):
        CaseTable.from_arrays(arrays, WORDS)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("hund", "Hund"),
        ("'tis", "'Tis"),
        ("'s", "'s"),
        ("ijs", "IJs"),
        ("iPhone", "iPhone"),
        ("d'Espagne", "D'Espagne"),
        ("l'été", "L'été"),
        ("élan", "Élan"),
        ("ǆep", "ǅep"),
        ("ინგლისი", "ინგლისი"),
        ("مرحبا", "مرحبا"),
        ("είναι", "Είναι"),
        ("привет", "Привет"),
        ("4th", "4th"),
        ("😂", "😂"),
        ("", ""),
    ],
)
def test_capitals(form: str, expected: str) -> None:
    assert capitalized(form) == expected


@pytest.mark.parametrize(
    ("context", "previous", "starts"),
    [
        ("", "", True),
        ("I saw", "saw", False),
        ("I saw. ", ".", True),
        ("I saw Mr.", ".", False),
        ("I saw,", ",", False),
        ("I saw\n", "saw", True),
        ('He said: "', ":", True),
        ("in (", "in", False),
        ("www.example.org", "<unknown>", False),
        ("x " * 1000, "x", False),
        ("\u200b", "", True),
    ],
)
def test_the_place_behind_a_context(context: str, previous: str, starts: bool) -> None:
    assert place_behind(context) == (previous, starts)
