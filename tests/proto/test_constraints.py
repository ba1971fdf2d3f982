"""Lists of what is suppressed: what they find however it is written, their JSON, their union, and tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.package.constraints.classes import class_numbers, without_classes, without_labels
from fedstill_proto.package.constraints.constraints import NO_CONSTRAINTS, Constraints, SuppressedTopic
from fedstill_proto.package.constraints.plainly import plainly_holds
from fedstill_proto.package.constraints.suppressor import Suppressor
from fedstill_proto.package.constraints.token_mask import NothingAllowed, TokenMask
from fedstill_proto.package.constraints.union import dropped, united
from fedstill_proto.text.vocabulary import split

LIST = Constraints(
    words=("damn", "bad luck", "schön", "🖕", "坏人"),
    sequences=("casino",),
    classes=("weapon", 7),
    topics=(SuppressedTopic(name="betting", words=("jackpot",), classes=("bet",)),),
    allowed=("schon",),
)


@pytest.mark.parametrize(
    "word",
    [
        "damn",
        "DAMN",
        "dämn",
        "d4mn",
        "daaamn",
        "da-mn",
        "damn-it",
        "damn's",
        "d\u200bamn",
        "ｄａｍｎ",
        "dаmn",
        "damn\u0301",
    ]
    + ["supercasinos", "bad-luck", "🖕🏽", "jackp0t", "schön"],
)
def test_a_word_is_found_however_it_is_written(word: str) -> None:
    assert Suppressor(LIST).word(word)


@pytest.mark.parametrize("word", ["damned", "schon", "bad", "luck", "dam", "👍", "坏", "cas", "4"])
def test_other_words_are_not(word: str) -> None:
    assert not Suppressor(LIST).word(word)


def test_phrases_end_behind_a_context() -> None:
    asked = Suppressor(LIST)
    assert asked.after(["so", "Bád"]) == {"luck"}
    assert asked.after(["luck"]) == asked.after([]) == frozenset()
    assert asked.found("What bad, LUCK!") == "luck"
    assert asked.found("坏人") == "人"
    assert asked.found("d a m n") == "n"
    assert asked.found("good luck, schon gut") == ""
    # What an owner has typed already keeps nothing behind it from being suggested.
    assert not asked.at_end_of_text("damn it", 4)
    assert asked.at_end_of_text("it is bad luck", 10)
    assert Suppressor(NO_CONSTRAINTS).is_idle
    assert [plainly_holds(LIST, text) for text in ("oh Dämn!", "bad luck", "fine", "schon")] == [
        "damn",
        "bad luck",
        "",
        "",
    ]


def test_the_file_is_read_strictly() -> None:
    assert Constraints.from_json(LIST.to_json()) == LIST
    content = json.loads(LIST.to_json())
    for change, message in (
        ({"format": "2"}, "format"),
        ({"wrods": []}, "'wrods' is none of"),
        ({"words": ["$$$"]}, "signs that are in no word"),
        ({"words": ["a b c d e f g"]}, "more than 6 words"),
        ({"words": "damn"}, "no list of texts"),
        ({"classes": [True]}, "neither a name nor a number"),
        ({"classes": [1.5]}, "neither a name nor a number"),
        ({"sequences": ["a"]}, "too many words"),
        ({"binding": 1}, "neither true nor false"),
        ({"topics": [{"words": []}]}, "name"),
        ({"lifted": ["damn"]}, "is not like"),
        ({"words": ["x" * 101]}, "1 to 100"),
        ({"words": [f"w{n}x" for n in range(20_001)]}, "20000 at most"),
    ):
        with pytest.raises(WireError, match=message):
            Constraints.from_json(json.dumps({**content, **change}).encode())
    for broken in (b"{", b"[]", b'{"format": "x", "format": "x"}', b"\xff", b"[" * 100_000, b" " * (3 << 20)):
        with pytest.raises(WireError):
            Constraints.from_json(broken)


def test_a_union_suppresses_what_either_does() -> None:
    other = Constraints(words=("schon",), topics=(SuppressedTopic(name="betting", words=("dice",)),))
    both = united(LIST, other)
    for word in ("damn", "jackpot", "dice", "schon", "schön"):
        assert Suppressor(both).word(word) == (Suppressor(LIST).word(word) or Suppressor(other).word(word))
    assert both.allowed == ()  # the other list suppresses "schon"
    assert united(LIST) == united(LIST, NO_CONSTRAINTS) == united(LIST, LIST) == LIST
    assert [topic.words for topic in both.topics] == [("jackpot", "dice")]


def test_what_a_later_list_drops() -> None:
    assert dropped(LIST, united(Constraints(words=("x",)), LIST)) == ()
    later = Constraints(
        words=("damn", "luck"), classes=("weapon", 7), lifted=("topics: betting", "words: 坏人")
    )
    assert dropped(LIST, later) == ("words: schön", "words: 🖕", "sequences: casino")
    wider = Constraints(
        words=LIST.words, sequences=("asin",), classes=("Weapon", 7, "bet"), topics=LIST.topics
    )
    assert dropped(LIST, wider) == ()
    weaker = Constraints(words=("damn", "bad luck"), allowed=("damn-it",))
    assert dropped(Constraints(words=("damn",)), weaker) == ("allowed: damn-it",)
    assert dropped(Constraints(words=("damn",), binding=False), NO_CONSTRAINTS) == ()


def test_the_probability_of_a_class_moves_to_the_others() -> None:
    names = ("lamp", "Weapon", "door")
    one = Constraints(classes=("weapon", "unknown elsewhere"))
    assert class_numbers(one, classes=3, names=names) == {1}
    with pytest.raises(InvalidValue, match="no class of this student"):
        class_numbers(one, classes=3, names=names, strict=True)
    with pytest.raises(InvalidValue, match="all 2 classes"):
        class_numbers(Constraints(classes=(0, 1)), classes=2)
    assert one.with_named_classes(names) == one
    assert Constraints(classes=(1, 9)).with_named_classes(names).classes == ("Weapon", 9)
    moved = without_classes(np.array([[0.2, 0.6, 0.2], [0.0, 1.0, 0.0]], np.float32), {1})
    np.testing.assert_allclose(moved, [[0.5, 0, 0.5], [0.5, 0, 0.5]])
    np.testing.assert_allclose(without_labels(np.array([[0.9, 0.8]], np.float32), {0}), [[0, 0.8]])


def test_the_next_token_never_ends_what_is_suppressed() -> None:
    texts = ["", " da", "mn", " damn", " bad", " luck", " lu", "ck", "!", " ca", "si", "no", " it", "m", "n"]
    mask = TokenMask(Suppressor(LIST), texts)
    logits = np.zeros(len(texts), np.float32)

    def open_behind(*tokens: str) -> set[str]:
        ids = [texts.index(token) for token in tokens]
        masked = mask.masked(logits, ids)
        allowed = [mask.allows(ids, token) for token in range(len(texts))]
        assert allowed == np.isfinite(masked).tolist()
        return {texts[token] for token in np.flatnonzero(~np.isfinite(masked))}

    assert open_behind() == {" damn"}
    assert open_behind(" da") == {" damn", "mn"}
    assert open_behind(" da", "m") == {" damn", "n"}
    assert open_behind(" bad") == {" damn", " luck"}
    assert open_behind(" bad", " lu") == {" damn", "ck"}
    assert open_behind(" bad", "!", " lu") == {" damn", "ck"}
    assert open_behind(" ca", "si") == {" damn", "no"}
    assert open_behind(" damn") == {" damn"}  # it was given: what follows is free
    accented = TokenMask(Suppressor(LIST), [" da", "\u0301", "mn"])
    assert not accented.allows([0, 1], 2)  # whatever else stands between
    rng = np.random.default_rng(0)
    ids: list[int] = []
    for _ in range(150):
        ids.append(mask.choose(logits, ids, lambda left: int(rng.choice(np.flatnonzero(np.isfinite(left))))))
    written = "".join(texts[each] for each in ids)
    assert not any(plainly_holds(LIST, " ".join(split(written)[at : at + 3])) for at in range(80))
    with pytest.raises(NothingAllowed):
        TokenMask(Suppressor(LIST), [" damn"]).masked(np.zeros(1, np.float32), [])


def test_tokens_of_a_decoder_that_leaves_spaces_out() -> None:
    """As those of WordPiece and of Metaspace do for the first word of a text."""
    pieces = ("a", "damn", "da", "##mn", "bad", "luck", "##luck", "the")

    def decode(ids: Sequence[int]) -> str:
        return " ".join(pieces[each] for each in ids).replace(" ##", "").removeprefix("##")

    mask = TokenMask.of_decoder(Suppressor(LIST), decode, size=len(pieces), behind=0)
    for ids, suppressed in (
        ([7], {"damn"}),
        ([7, 2], {"damn", "##mn"}),
        ([4], {"damn", "luck"}),
        ([7, 4], {"damn", "luck"}),
    ):
        assert {pieces[at] for at in np.flatnonzero(mask.suppressed(ids))} == suppressed
        assert {piece for at, piece in enumerate(pieces) if not mask.allows(ids, at)} == suppressed
