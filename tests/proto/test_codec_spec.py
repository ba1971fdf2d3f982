from __future__ import annotations

import pytest
from fedstill_proto.errors import InvalidValue
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_proto.soft_labels.codec_spec import format_codec, parse_codec
from fedstill_proto.soft_labels.levels import Grid
from hypothesis import given

from tests.proto.wire_samples import all_codecs

LEVELS = Encoding.LEVELS


@pytest.mark.parametrize(
    ("words", "codec"),
    [
        ("float16", SoftLabelCodec(Encoding.FLOAT16)),
        ("topk8", SoftLabelCodec(Encoding.TOP_K, 8)),
        ("dense, 1bit", SoftLabelCodec(LEVELS, bits=1)),
        ("log,3bit,entropy", SoftLabelCodec(LEVELS, bits=3, grid=Grid.LOG, entropy=True)),
        ("topk8,4bit,entropy,delta", SoftLabelCodec(LEVELS, 8, 4, entropy=True, delta=True)),
        ("entropy", SoftLabelCodec(LEVELS, entropy=True)),
        ("topk16,drawn12", SoftLabelCodec(Encoding.DRAWN, 16, drawn=12)),
        ("drawn3,topk2,12bit", SoftLabelCodec(Encoding.DRAWN, 2, 12, drawn=3)),
    ],
)
def test_words_name_a_codec(words: str, codec: SoftLabelCodec) -> None:
    assert parse_codec(words) == codec


@given(all_codecs())
def test_every_codec_has_words(codec: SoftLabelCodec) -> None:
    assert parse_codec(format_codec(codec)) == codec


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("", "is none of dense"),
        ("uint8,entropy", "uint8 stands alone"),
        ("9bit", "9 is not 1 to 8"),
        ("0bit", "0 is not 1 to 8"),
        ("topk0", "names no class"),
        ("drawn4", "0 is not 1 to"),
        ("topk4,drawn4,log", "says grid"),
        ("topk4,drawn4,17bit", "17 is not 1 to 16"),
        ("dense,topk3", "says classes twice"),
        ("dense,delta", "switch entropy on"),
        ("dense,4bits", "is none of dense"),
    ],
)
def test_words_that_name_none_are_explained(words: str, problem: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse_codec(words)
    assert problem in caught.value.problem
