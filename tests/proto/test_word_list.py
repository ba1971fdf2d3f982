"""Text as numbers of words, and back."""

from __future__ import annotations

import json

import pytest
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.text.vocabulary import (
    MARKS,
    SPECIAL,
    TEXT_LIMIT,
    UNKNOWN,
    WORD_LIMIT,
    WordList,
    build_word_list,
    join,
    split,
)
from hypothesis import given
from hypothesis import strategies as st

PUBLIC = ("The king speaks, the king walks.", "Speak! 'Tis o'er; the queen walks on the walking king")
SMALL = WordList((*SPECIAL, *MARKS, "a", "k", "the", "king", "'tis", "+s", "+ing", "+i", "+n", "+g", "+'s"))


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("To be, or not to be?", ["to", "be", ",", "or", "not", "to", "be", "?"]),
        ("wither’d o'er\nto-morrow", ["wither'd", "o'er", "to-morrow"]),
        ("'Tis said: 'twas the lords' house.", ["'tis", "said", ":", "'twas", "the", "lords", "house", "."]),
        ('"Peace," (he said) -- no & more…', ["peace", ",", "he", "said", "no", "more", "."]),
        ("ΟΔΟΣ Straße café cafe\u0301", ["οδος", "straße", "café", "café"]),
        ("हिन्दी में 2026 👍🏽", ["हिन्दी", "में", "<unknown>", "👍🏽"]),
        ("a\x00b\ud800c", ["a", "bc"]),
        ("", []),
        ("-'- ' -", []),
    ],
)
def test_words_and_marks(text: str, tokens: list[str]) -> None:
    assert split(text) == tokens


@given(st.text(max_size=200))
def test_what_is_joined_splits_again(text: str) -> None:
    tokens = split(text)
    assert split(join(tokens)) == tokens


def test_known_words_are_one_number_and_others_fall_into_pieces() -> None:
    def said(text: str) -> list[str]:
        return [SMALL.entries[number] for number in SMALL.encode(text)]

    assert said("'Tis the King's king!") == ["'tis", "the", "king", "+'s", "king", "!"]
    assert said("aking") == ["<unknown>"]  # no piece "+k..."
    assert said("kings king kin") == ["king", "+s", "king", "k", "+i", "+n"]
    assert SMALL.encode("queen") == [UNKNOWN]
    assert SMALL.encode("a" * (WORD_LIMIT + 1)) == [UNKNOWN]
    assert SMALL.decode(SMALL.encode("The kings, 'tis the king's kin.")) == "the kings, 'tis the king's kin."


@given(st.text(alphabet="adehiknqu 'o-.,KS!", max_size=60))
def test_what_the_letters_of_the_public_text_write_comes_back(text: str) -> None:
    words = build_word_list(
        ["a 'tis the king's to-morrow queen due hand", "skid o quo" * 3], size=200, least=1
    )
    short = " ".join(text.split()[:9])
    if UNKNOWN not in words.encode(short):
        assert words.decode(words.encode(short)) == join(split(short))


def test_a_list_holds_what_is_frequent_and_is_the_same_in_any_order() -> None:
    words = build_word_list(PUBLIC, size=60)

    assert words.entries[:8] == (*SPECIAL, *MARKS)
    assert {"the", "king", "walks"} <= set(words.entries)
    assert not {"queen", "speaks"} & set(words.entries)
    assert words == build_word_list(PUBLIC[::-1], size=60)
    assert words.decode(words.encode("queen speaks")) == "queen speaks"
    assert WordList.from_json(words.to_json(), size=len(words)) == words
    assert len(build_word_list(PUBLIC, size=len(words) - 1)) < len(words)
    with pytest.raises(InvalidValue, match="letters and pieces of these texts alone"):
        build_word_list(PUBLIC, size=10)


def test_the_words_that_stand_alone() -> None:
    assert [word for _, word in SMALL.words] == ["a", "k", "the", "king", "'tis"]
    assert SMALL.words[2][0] == SMALL.number("the")


def test_a_text_that_is_too_long() -> None:
    with pytest.raises(InvalidValue, match=f"{TEXT_LIMIT} at most"):
        split("a" * (TEXT_LIMIT + 1))
    assert split("a" * TEXT_LIMIT) == ["a" * TEXT_LIMIT]


def _file(*entries: object, tokenizer: str = "words", **more: object) -> bytes:
    return json.dumps({"tokenizer": tokenizer, "entries": [*SPECIAL, *entries], **more}).encode()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[]", "no object of tokenizer and entries"),
        (_file("a", more=1), "no object of tokenizer and entries"),
        (_file("a", tokenizer="bytes"), "'bytes' is not 'words-uax29'"),
        (_file("a", 3), "no list of strings"),
        (_file(), "2 entries; give 3 to"),
        (json.dumps({"tokenizer": "words", "entries": ["a", "b", "c"]}).encode(), "begin with"),
        (_file("a", "a"), r"entries\[3\]: 'a' is entry 2 already"),
        (_file("The"), r"entries\[2\]: 'The' is no word"),
        (_file("two words"), "is no word"),
        (_file("+"), "is no word"),
        (_file(""), "is no word"),
        (_file("a\u0000"), "is no word"),
        (_file("\ud800"), "is no word"),
        (_file("x" * 81), "is no word"),
        (_file(*(f"w{n}" for n in range(70_000))), "70002 entries; give 3 to 65536"),
        (b" " * (4 << 20) + b"{}", "4194306 bytes, more than"),
    ],
)
def test_a_vocabulary_that_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(WireError, match=words):
        WordList.from_json(content)


def test_a_vocabulary_of_another_size_than_the_student_s() -> None:
    with pytest.raises(WireError, match="19; the student knows 40 words"):
        WordList.from_json(SMALL.to_json(), size=40)


def test_numbers_that_are_no_words() -> None:
    with pytest.raises(InvalidValue, match=r"numbers\[1\]: 99 is outside"):
        SMALL.decode([2, 99])


def test_a_list_of_the_earlier_tokenizer() -> None:
    """What no text is cut into any more keeps its number, and is never suggested."""
    made = WordList.from_json(_file(".", "the", "lol😂", "हूँ।", "2026", "+।", "+s"), size=9)

    assert [word for _, word in made.words] == ["the"]
    assert made.encode("the thes lol😂") == [3, 3, 8, UNKNOWN, UNKNOWN]
    assert WordList.from_json(made.to_json()) == made
    with pytest.raises(WireError, match="'हूँ।' is no word"):
        WordList.from_json(_file("हूँ।", tokenizer="words-uax29"))
