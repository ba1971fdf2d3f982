"""The owner's own forms beside the public ones, and the capitals of what is typed."""

from __future__ import annotations

import pytest
from fedstill_client.keyboard.casing import STYLE_STARTS, Casing, OwnCasing, with_letters
from fedstill_proto.text.casing import CaseCounts, CaseTable

WORDS = ("<unknown>", "<start>", ".", "i", "may", "in", "nasa", "the", "with")
PUBLIC = (
    "So I may go",
    "So I may stay",
    "So I may",
    "In in May we",
    "In in May they",
    "See NASA in the sky with",
)


def casing(*typed: str) -> Casing:
    own = OwnCasing()
    for text in typed:
        own.add(text)
    table = CaseTable.of(CaseCounts.of(PUBLIC), WORDS)
    return Casing(own, table, lambda key: WORDS.index(key) if key in WORDS else len(WORDS))


@pytest.mark.parametrize(
    ("typed", "key", "context", "expected"),
    [
        ((), "i", "so", "I"),
        ((), "nasa", "", "NASA"),
        ((), "may", "so i", "may"),
        ((), "may", "in", "May"),
        ((), "may", "Right.", "May"),
        ((), "the", "with", "the"),
        ((), "blorp", "with", "blorp"),
        (("saw Blorp",), "blorp", "with", "Blorp"),
        (("saw Blorp", "saw blorp", "see blorp"), "blorp", "with", "blorp"),
        (("so i go",) * 3, "i", "with", "I"),
        (("so i go",) * 12, "i", "with", "i"),
        (("met May there",) * 6, "may", "with", "May"),
        (("don’t say",) * 2, "don't", "with", "don’t"),
        (("don't say", "don't", "don’t"), "don't", "with", "don't"),
    ],
)
def test_the_owner_s_form_and_people_s(typed: tuple[str, ...], key: str, context: str, expected: str) -> None:
    assert casing(*typed).written(key, context, "") == expected


def test_who_never_begins_with_a_capital_gets_none() -> None:
    assert casing(*["we go. they stay"] * (STYLE_STARTS // 2)).written("the", "", "") == "the"
    assert casing(*["We go. They stay"] * (STYLE_STARTS // 2)).written("the", "", "") == "The"
    assert casing("we go", "we go").written("the", "", "") == "The"
    assert casing("we go", "we go").written("we", "", "") == "we"


@pytest.mark.parametrize(
    ("form", "letters", "expected"),
    [
        ("NASA", "na", "NASA"),
        ("NASA", "Na", "NASA"),
        ("nach", "Na", "Nach"),
        ("nach", "NA", "NACH"),
        ("nach", "na", "nach"),
        ("Priyanka", "p", "Priyanka"),
        ("Priyanka", "PR", "PRIYANKA"),
        ("iphone", "iP", "iPhone"),
        ("mcdonald", "McD", "McDonald"),
        ("YouTube", "youT", "YouTube"),
        ("YouTube", "you", "YouTube"),
        ("youtube", "youT", "youTube"),
        ("i'm", "I", "I'm"),
        ("'tis", "'T", "'Tis"),
        ("über", "Ub", "Über"),
        ("straße", "STRA", "STRASSE"),
        ("κόσμος", "Κό", "Κόσμος"),
        ("привет", "ПР", "ПРИВЕТ"),
        ("ijs", "I", "IJs"),
        ("مرحبا", "مر", "مرحبا"),
        ("42nd", "4", "42nd"),
    ],
)
def test_capitals_of_what_is_typed(form: str, letters: str, expected: str) -> None:
    assert with_letters(form, letters) == expected
