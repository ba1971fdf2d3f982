"""A tokenizer.json is looked through, and then read: texts become rows of numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fedstill_proto.errors import FedstillError, InvalidValue, WireError
from fedstill_proto.subwords.reader import TEXT_LIMIT, SubwordReader
from fedstill_proto.subwords.tokenizer_check import check_pattern, check_tokenizer

from tests.client.subword_samples import PAD, tokenizer_document, tokenizer_file

WORDS = ("play", "##ing", "some", "music", "p", "##ad")  # from 4 on


@pytest.fixture(scope="module")
def reader() -> SubwordReader:
    return SubwordReader(tokenizer_file(WORDS), places=6, pad=PAD)


def test_rows_by_hand(reader: SubwordReader) -> None:
    rows = reader.rows(["Playing music", "some"])
    assert rows.dtype == np.float32
    assert rows.tolist() == [[2, 4, 5, 7, 3, 0], [2, 6, 3, 0, 0, 0]]
    assert reader.text(reader.numbers("playing music")) == "playing music"
    assert reader.size == 10


def test_a_long_text_is_cut_and_still_ends(reader: SubwordReader) -> None:
    assert reader.numbers("some " * 50) == [2, 6, 6, 6, 6, 3]


def test_a_text_cannot_say_what_is_special(reader: SubwordReader) -> None:
    # "[PAD]" is a bracket, "pad" and a bracket: never the number of the padding.
    assert reader.numbers("[PAD]") == [2, 1, 8, 9, 1, 3]


@pytest.mark.parametrize("text", ["", "  ", "\ud800"])
def test_a_text_with_nothing_in_it_is_refused(reader: SubwordReader, text: str) -> None:
    with pytest.raises(InvalidValue, match=r"texts\[1\]: .* holds no sub-word"):
        reader.rows(["music", text])


def test_too_long_a_text_is_refused(reader: SubwordReader) -> None:
    with pytest.raises(InvalidValue, match="65537 characters"):
        reader.numbers("a" * (TEXT_LIMIT + 1))


def test_there_must_be_a_place_for_a_word() -> None:
    with pytest.raises(WireError, match="2, no more than the 2 special sub-words"):
        SubwordReader(tokenizer_file(WORDS), places=2, pad=PAD)


def _with(part: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda document: document.update({part: value})


def _in_model(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["model"].update({name: value})


DOUBLING = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (_with("model", None), "it has no model"),
        (_in_model("type", "Shell"), "'Shell' is none of BPE"),
        (_in_model("dropout", 0.5), "draws random numbers"),
        (_in_model("vocab", {"a": 1 << 24}), "is no number of a sub-word"),
        (_in_model("vocab", {"a": True}), "is no number of a sub-word"),
        (_in_model("vocab", [["a" * 5000, 0.0]]), "is no sub-word of 4096"),
        (_with("normalizer", {"type": "Script"}), "'Script' is not a step"),
        (_with("normalizer", {"type": "Sequence", "normalizers": [DOUBLING] * 5}), "32 times as long"),
        (
            _with("pre_tokenizer", {"type": "Split", "pattern": {"Regex": "(a+)+b"}, "behavior": "Isolated"}),
            "repeats what repeats",
        ),
        (
            _with(
                "post_processor", {"type": "TemplateProcessing", "single": [{"Sequence": {}}] * 3, "pair": []}
            ),
            "repeats the text 3 times",
        ),
        (_with("added_tokens", [{"id": -1, "content": "x"}]), "-1 is no number"),
    ],
)
def test_hostile_files_are_refused(change: Callable[[dict[str, Any]], None], problem: str) -> None:
    document = tokenizer_document(WORDS)
    change(document)
    with pytest.raises(WireError, match=problem):
        check_tokenizer(json.dumps(document).encode())


def test_what_the_library_cannot_read_is_an_error_of_ours() -> None:
    document = tokenizer_document(WORDS)
    document["model"]["vocab"] = {"play": 4}  # without the unknown
    with pytest.raises(FedstillError):
        SubwordReader(json.dumps(document).encode(), places=6, pad=PAD).rows(["music"])
    document["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}  # its Rust panics
    with pytest.raises(WireError, match="does not read it"):
        SubwordReader(json.dumps(document).encode(), places=6, pad=PAD)
    with pytest.raises(WireError, match="not a tokenizer"):
        check_tokenizer(b"[" * 100_000)


def test_patterns_that_models_have_are_read() -> None:
    for pattern in (
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        r"(?i:'s|'t|'re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+",
        " {2,}",
    ):
        check_pattern(pattern, "pattern")
    for pattern in (r"(\w+\s?)*x", r"(a|b*){2,}", r"(a)\1", r"((a{1,99}))+"):
        with pytest.raises(WireError, match="pattern"):
            check_pattern(pattern, "pattern")
