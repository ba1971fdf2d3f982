"""The lexicon of a package: numbers a person can check, a round trip, and files that must be refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from fedstill_proto.errors import WireError
from fedstill_proto.text.casing import CaseTable
from fedstill_proto.text.lexicon import CLASSES, NEVER, FollowingWords, Lexicon, following, quantized
from fedstill_proto.text.vocabulary import START, WordList

WORDS = WordList(("<unknown>", "<start>", ".", "b", "+ing", "the", "cat"))
THE, CAT, DOG, ZEBRA = 5, 6, 7, 8


def table(rows: dict[int, dict[int, float]]) -> FollowingWords:
    words = [word for of in rows.values() for word in of]
    shares = np.array([share for of in rows.values() for share in of.values()])
    begins = np.cumsum([0, *(len(of) for of in rows.values())])
    return following(np.array(list(rows)), begins, np.array(words), quantized(shares))


def lexicon(**changes: Any) -> Lexicon:
    frequency = np.array([NEVER, NEVER, np.log(0.1), NEVER, NEVER, *np.log([0.5, 0.2, 0.15, 0.05])])
    given: dict[str, Any] = {
        "languages": ("en",),
        "dictionary": ("dog", "zebra"),
        "frequency": frequency.astype(np.float16),
        "pairs": table({THE: {CAT: 0.5, DOG: 0.25}}),
        "triples": table({START * 9 + THE: {DOG: 0.5}}),
        "mix": np.full(CLASSES, 0.5, np.float32),
        "attribution": "wordfreq, CC BY-SA 4.0",
    }
    return Lexicon(**{**given, **changes})


def test_counts_go_down_to_shorter_histories() -> None:
    made = lexicon()

    of_nothing, alone = made.counted([CAT])
    of_word, after_the = made.counted([CAT, THE])
    of_two, after_both = made.counted([THE])

    assert of_nothing == 0 < of_word < of_two
    assert alone == pytest.approx([0, 0, 0.1, 0, 0, 0.5, 0.2, 0.15, 0.05], abs=1e-3)
    assert after_the[[THE, CAT, DOG]] == pytest.approx([0.125, 0.55, 0.2875], abs=0.01)
    assert after_both[[CAT, DOG]] == pytest.approx([0.275, 0.5 + 0.14375], abs=0.02)
    for chances in (alone, after_the, after_both):
        assert chances.sum() == pytest.approx(1)


def test_a_mix_sums_to_1_and_gives_the_dictionary_what_pieces_have() -> None:
    student = np.array([0.0, 0.0, 0.1, 0.2, 0.2, 0.3, 0.2])

    mixed = lexicon().mixed(student, [CAT])

    assert mixed.sum() == pytest.approx(1)
    assert mixed[[3, 4]].tolist() == [0, 0]  # "b" and "+ing" are no words
    assert mixed[THE] == pytest.approx(0.5 * 0.3 + 0.5 * 0.5, abs=1e-3)
    # .4 of the student's mass is for words that it lacks: three quarters of it for "dog"
    assert mixed[[DOG, ZEBRA]] == pytest.approx(
        [0.5 * 0.4 * 0.75 + 0.5 * 0.15, 0.5 * 0.4 * 0.25 + 0.5 * 0.05], abs=1e-3
    )


def test_round_trip() -> None:
    made = lexicon(casing=CaseTable(np.zeros(9, np.uint8)))

    read = Lexicon.from_bytes(made.to_bytes(), WORDS)

    assert (read.languages, read.dictionary, read.attribution) == (
        ("en",),
        ("dog", "zebra"),
        made.attribution,
    )
    assert read.casing is not None
    assert len(read.casing) == read.words
    assert [read.number(word) for word in ("dog", "zebra", "the")] == [DOG, ZEBRA, None]
    for context in ([], [THE], [CAT, THE]):
        np.testing.assert_allclose(read.counted(context)[1], made.counted(context)[1], rtol=1e-6)
    assert [read.stands_alone(number) for number in (3, 4, THE, DOG)] == [False, False, True, True]


def text(words: str) -> np.ndarray:
    return np.frombuffer(words.encode(), np.uint8)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        pytest.param("about", text("{"), id="no JSON"),
        pytest.param("about", text("[]"), id="no object"),
        pytest.param("about", text('{"languages": [7], "attribution": ""}'), id="languages"),
        pytest.param("about", text('{"languages": [], "attribution": "' + "x" * 5000 + '"}'), id="long"),
        pytest.param("dictionary", text("dog\ndog"), id="a word twice"),
        pytest.param("dictionary", text("dog\nthe"), id="a listed word"),
        pytest.param("dictionary", text("dog\nDog"), id="upper case"),
        pytest.param("dictionary", text("dog\ntwo words"), id="two words"),
        pytest.param("dictionary", text("dog\n" + "x" * 81), id="a long word"),
        pytest.param("dictionary", np.array([0xFF, 0xFE], np.uint8), id="no UTF-8"),
        pytest.param("dictionary", text("dog"), id="one word less"),
        pytest.param("dictionary", np.zeros((2, 2), np.uint8), id="a matrix"),
        pytest.param("frequency", np.full(9, np.nan, np.float16), id="not a number"),
        pytest.param("frequency", np.ones(9, np.float16), id="above 1"),
        pytest.param("frequency", np.full(9, NEVER, np.float16), id="no word at all"),
        pytest.param("frequency", np.zeros(9, np.float32), id="another type"),
        pytest.param("mix", np.full(CLASSES, 1.5, np.float32), id="a weight above 1"),
        pytest.param("mix", np.full(CLASSES, np.nan, np.float32), id="a weight that is none"),
        pytest.param("mix", np.zeros(2, np.float32), id="few weights"),
        pytest.param("pair_histories", np.array([9], np.uint32), id="a history beyond the words"),
        pytest.param("pair_begins", np.array([0, 3], np.uint32), id="beyond the end"),
        pytest.param("pair_begins", np.array([2, 2], np.uint32), id="no first"),
        pytest.param("pair_next", np.array([6, 9], np.uint16), id="a word beyond the words"),
        pytest.param("pair_next", np.array([7, 6], np.uint16), id="out of order"),
        pytest.param("pair_shares", np.zeros(3, np.uint8), id="more shares than words"),
        pytest.param("triple_histories", np.array([81], np.uint64), id="histories beyond the words"),
        pytest.param("triple_histories", np.array([1 << 63], np.uint64), id="a huge history"),
    ],
)
def test_a_hostile_file_is_refused(name: str, array: np.ndarray) -> None:
    arrays = safetensors.numpy.load(lexicon().to_bytes())
    content = safetensors.numpy.save({**arrays, name: array})

    with pytest.raises(WireError, match=r"lexicon\.safetensors"):
        Lexicon.from_bytes(content, WORDS)


def test_bytes_that_are_no_safetensors_are_refused() -> None:
    for content in (b"", b"\xff" * 100, lexicon().to_bytes()[:-5]):
        with pytest.raises(WireError, match=r"lexicon\.safetensors"):
            Lexicon.from_bytes(content, WORDS)


def test_shares_that_are_more_than_all_are_made_smaller() -> None:
    greedy = following(np.array([THE]), np.array([0, 2]), np.array([CAT, DOG]), np.zeros(2, np.uint8))

    assert greedy.shares.sum() <= 0.99
