from __future__ import annotations

import numpy as np
import pytest
from fedstill_proto.soft_labels import range_coder
from fedstill_proto.soft_labels.range_coder import (
    TOTAL,
    LibraryDecoder,
    LibraryEncoder,
    PlainDecoder,
    PlainEncoder,
    SymbolArray,
    Undecodable,
    WeightArray,
    narrowed,
    shared_weights,
)
from hypothesis import given
from hypothesis import strategies as st

CODERS = [(LibraryEncoder, LibraryDecoder), (PlainEncoder, PlainDecoder)]
each_coder = pytest.mark.parametrize(("encoder", "decoder"), CODERS, ids=["constriction", "plain"])


def weights_of(probabilities: np.ndarray) -> WeightArray:
    """Rows of probabilities [m, n] as the weights that a coder takes."""
    weights = (probabilities * (TOTAL - probabilities.shape[1])).astype(np.int64)
    weights[:, 0] += TOTAL - probabilities.shape[1] - weights.sum(axis=1)
    return weights.astype(np.float64)


@st.composite
def coded(draw: st.DrawFn) -> tuple[SymbolArray, WeightArray]:
    """Symbols with the weights that they are coded with: likely ones, unlikely ones, all of one kind."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, symbols = draw(st.integers(0, 80)), draw(st.integers(2, 300))
    skew = draw(st.sampled_from([0.01, 1.0, 50.0]))
    weights = weights_of(generator.dirichlet(np.full(symbols, skew), size=rows).reshape(rows, symbols))
    kind = draw(st.sampled_from(["drawn", "likeliest", "first", "last", "any"]))
    if kind == "drawn":
        picked = (np.cumsum(weights + 1, axis=1) > generator.integers(TOTAL, size=(rows, 1))).argmax(axis=1)
    elif kind == "likeliest":
        picked = weights.argmax(axis=1)
    elif kind == "any":
        picked = generator.integers(symbols, size=rows)
    else:
        picked = np.full(rows, 0 if kind == "first" else symbols - 1)
    return picked.astype(np.int32), weights


@given(coded())
def test_both_coders_write_the_same_bytes_and_read_them(message: tuple[SymbolArray, WeightArray]) -> None:
    symbols, weights = message
    written = []
    for encoder, _ in CODERS:
        coder = encoder()
        coder.encode(symbols[:7], weights[:7])
        coder.encode(symbols[7:], weights[7:])
        written.append(coder.finish())
    assert written[0] == written[1]
    for _, decoder in CODERS:
        reader = decoder(written[0])
        np.testing.assert_array_equal(reader.decode(weights[:7]), symbols[:7])
        np.testing.assert_array_equal(reader.decode(weights[7:]), symbols[7:])


@given(coded())
def test_a_message_takes_its_information_and_less_than_two_bytes(
    message: tuple[SymbolArray, WeightArray],
) -> None:
    symbols, weights = message
    shares = (weights[np.arange(len(symbols)), symbols] + 1) / TOTAL
    coder = LibraryEncoder()
    coder.encode(symbols, weights)
    # Each symbol may lose 2**-8 of its interval to rounding: the width is divided by TOTAL in whole numbers.
    information_bits = -np.log2(shares).sum() + len(symbols) * 0.006
    assert 8 * len(coder.finish()) < information_bits + 16


@each_coder
@given(coded())
def test_the_same_weights_for_all_are_those_of_each(
    encoder: type, decoder: type, message: tuple[SymbolArray, WeightArray]
) -> None:
    symbols, weights = message
    if len(symbols) == 0:
        return
    shared = shared_weights(weights[0]) if encoder is LibraryEncoder else weights[0]
    coder, other = encoder(), encoder()
    coder.encode_alike(symbols, shared)
    other.encode(symbols, np.tile(weights[0], (len(symbols), 1)))
    data = coder.finish()
    assert data == other.finish()
    np.testing.assert_array_equal(decoder(data).decode_alike(shared, len(symbols)), symbols)


@each_coder
@given(coded())
def test_a_symbol_is_coded_alike_among_three(
    encoder: type, decoder: type, message: tuple[SymbolArray, WeightArray]
) -> None:
    symbols, weights = message
    coder, other = encoder(), encoder()
    coder.encode(symbols, weights)
    other.encode(*narrowed(symbols, weights[::-1], np.arange(len(symbols))[::-1]))
    assert coder.finish() == other.finish()


@each_coder
def test_four_symbols_of_one_half_are_half_a_byte(encoder: type, decoder: type) -> None:
    weights = np.full((4, 2), TOTAL / 2 - 1)
    coder = encoder()
    coder.encode(np.array([1, 0, 1, 1], np.int32), weights)
    assert coder.finish() == bytes([0b10110000])
    assert decoder(bytes([0b10110000])).decode(weights).tolist() == [1, 0, 1, 1]


@each_coder
def test_what_can_be_foretold_takes_no_byte(encoder: type, decoder: type) -> None:
    weights = np.tile([TOTAL - 2.0, 0.0], (50, 1))
    coder = encoder()
    coder.encode(np.zeros(50, np.int32), weights)
    assert coder.finish() == b""
    assert not decoder(b"").decode(weights).any()


@given(st.binary(max_size=60), coded())
def test_both_coders_read_any_bytes_alike(noise: bytes, message: tuple[SymbolArray, WeightArray]) -> None:
    _, weights = message
    read: list[SymbolArray | None] = []
    for _, decoder in CODERS:
        try:
            read.append(decoder(noise).decode(weights))
        except Undecodable:
            read.append(None)
    if read[0] is None or read[1] is None:
        assert read[0] is read[1]
    else:
        np.testing.assert_array_equal(read[0], read[1])


def test_without_the_library_the_plain_coder_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(range_coder.range_encoder(), LibraryEncoder)
    assert isinstance(range_coder.range_decoder(b""), LibraryDecoder)
    monkeypatch.setattr(range_coder, "HAS_LIBRARY", False)
    assert isinstance(range_coder.range_encoder(), PlainEncoder)
    assert isinstance(range_coder.range_decoder(b""), PlainDecoder)
