"""The tokenizer of utterances: the same numbers everywhere, for any text."""

from __future__ import annotations

import unicodedata
import zlib

import numpy as np
import pytest
from fedstill_proto.errors import InvalidValue
from fedstill_proto.text.ngrams import TEXT_LIMIT, NgramHashing, ngrams, words_of
from hypothesis import given
from hypothesis import strategies as st


def test_the_ngrams_of_a_text_by_hand() -> None:
    assert list(ngrams("Turn up!")) == [
        *("wturn", "wup"),
        *("p turn", "pturn up", "pup "),
        *("c<tu", "ctur", "curn", "crn>", "c<up", "cup>"),
        *("c<tur", "cturn", "curn>", "c<up>"),
    ]


def test_the_numbers_of_a_text_by_hand() -> None:
    row = NgramHashing(buckets=1000, places=4).encode("up")

    expected = [1 + zlib.crc32(ngram) % 999 for ngram in (b"wup", b"p up", b"pup ", b"c<up")]
    assert row.tolist() == expected


def test_numbers_never_change() -> None:
    """Students that are out there were trained with these."""
    rows = NgramHashing().encode_all(["turn on the kitchen light", "schalte das Küchenlicht ein", "打开灯"])

    assert rows.sum(axis=1).tolist() == [227_860, 225_080, 42_722]
    assert rows[0, :5].tolist() == [1885, 4527, 6426, 6810, 3613]


def test_numbers_in_words_and_digits_are_one_since_version_2() -> None:
    old, new = NgramHashing(version=1), NgramHashing()
    one, other = "set the light to 50%", "Set the light to fifty percent"

    assert list(ngrams("50% up"))[:4] == ["w#", "w50", "wpercent", "wup"]
    assert (new.encode(one) == new.encode(other)).all()
    assert (old.encode(one) != old.encode(other)).any()
    assert old.encode_all(["turn on the kitchen light"]).sum() == 227_860
    with pytest.raises(InvalidValue, match="version"):
        NgramHashing(version=3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Café au lait", ["café", "au", "lait"]),
        ("l'eau_50%", ["l", "eau", "50"]),
        ("STRASSE straße", ["strasse", "strasse"]),
        ("ＦＵＬＬ width", ["full", "width"]),
        ("打开灯", ["打", "开", "灯"]),
        ("रसोई की बत्ती", ["रसोई", "की", "बत्ती"]),
        ("\ud800?!", []),
        ("", []),
    ],
)
def test_words_in_many_scripts(text: str, words: list[str]) -> None:
    assert words_of(text) == words
    assert any(ngrams(text)) == bool(words)


@given(st.text(max_size=60), st.integers(2, 5000), st.integers(1, 40))
def test_any_text_becomes_a_row(text: str, buckets: int, places: int) -> None:
    hashing = NgramHashing(buckets, places)

    row = hashing.encode(text)

    assert row.shape == (places,)
    assert row.dtype == np.int64
    heard = row[row != 0]
    assert ((heard > 0) & (heard < buckets)).all()
    assert len(set(heard.tolist())) == len(heard)
    assert (row[: len(heard)] == heard).all()  # nothing stands between


@given(st.text(max_size=40))
def test_case_and_form_do_not_matter(text: str) -> None:
    hashing = NgramHashing()

    for form in ("NFC", "NFD"):
        assert (hashing.encode(unicodedata.normalize(form, text)) == hashing.encode(text)).all()
    assert (hashing.encode(f"  {text}\n") == hashing.encode(text)).all()


def test_what_is_too_long_is_refused_and_what_grows_stays_bounded() -> None:
    with pytest.raises(InvalidValue, match="1001 characters"):
        NgramHashing().encode("a" * (TEXT_LIMIT + 1))
    for text in ("\ufdfa" * TEXT_LIMIT, "a" * TEXT_LIMIT, "a " * (TEXT_LIMIT // 2)):  # one becomes 18 letters
        assert len(list(ngrams(text))) < 5_000
    with pytest.raises(InvalidValue, match="buckets"):
        NgramHashing(buckets=1)
