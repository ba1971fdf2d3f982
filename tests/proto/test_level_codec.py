from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from fedstill_proto.errors import WireError
from fedstill_proto.soft_labels import range_coder
from fedstill_proto.soft_labels.bit_packing import pack, packed_bytes, unpack
from fedstill_proto.soft_labels.entropy import ENTROPY, PLAIN, TASK_BASE, decode_levels, encode_levels
from fedstill_proto.soft_labels.entropy_model import LevelShape
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels
from fedstill_proto.soft_labels.levels import Grid, Levels, quantized
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.level_samples import Sample, same, samples
from tests.proto.wire_samples import random_rows, refused_field


def entropy_bytes(codes: np.ndarray) -> float:
    """Empirical entropy of the codes, one by one, of all of them together."""
    shares = np.bincount(codes.ravel()) / codes.size
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum() * codes.size / 8)


def soft_rows(rows: int, *, seed: int = 0, classes: int = 10) -> DenseSoftLabels:
    """What a student says of public examples: sure of most, torn between two of some."""
    return DenseSoftLabels(random_rows(rows, classes, seed=seed, concentration=0.15))


@given(samples())
def test_what_was_coded_is_decoded_to_the_last_code(sample: Sample) -> None:
    levels, shape = sample.levels, LevelShape.of(sample.levels)
    for entropy, base in ((False, None), (True, None), (True, sample.base)):
        data = encode_levels(levels, entropy=entropy, task_base=base)
        assert same(decode_levels(data, shape, field="codes", task_base=base), levels)
        assert len(data) <= packed_bytes(shape) + 1


@given(samples(max_classes=2000, max_rows=6))
def test_plain_bits_hold_the_same(sample: Sample) -> None:
    data = pack(sample.levels)
    assert len(data) == packed_bytes(LevelShape.of(sample.levels))
    assert same(unpack(data, LevelShape.of(sample.levels)), sample.levels)


def test_plain_bits_by_hand() -> None:
    # One share of four classes: three codes of one bit; the fourth class is what is left.
    one_hot = Levels(np.array([[0, 1, 0, 0], [0, 0, 0, 1]], np.uint8), 4, 1, Grid.SHARES)
    assert pack(one_hot) == bytes([0b01000000])
    # Classes 1 and 3 of 4 are set number C(1, 1) + C(3, 2) = 4 of 6: three bits. Then 1 and 0 shares.
    top_2 = Levels(np.array([[1, 0, 0]], np.uint8), 4, 1, Grid.SHARES, np.array([[1, 3]]))
    assert pack(top_2) == bytes([0b10010000])


@given(samples(max_rows=12, max_classes=30), st.data())
def test_other_bytes_are_refused_or_stand_for_other_levels(sample: Sample, data: st.DataObject) -> None:
    shape = LevelShape.of(sample.levels)
    blob = bytearray(encode_levels(sample.levels, entropy=True, task_base=sample.base))
    place = data.draw(st.integers(0, len(blob) - 1))
    blob[place] ^= data.draw(st.integers(1, 255))
    with suppress(WireError):
        decoded = decode_levels(bytes(blob), shape, field="codes", task_base=sample.base)
        # Plain or coded, each content has one spelling for each first byte.
        assert not same(decoded, sample.levels) or place == 0


@given(samples(max_rows=12, max_classes=30), st.binary(max_size=60))
def test_noise_is_refused_or_written_the_same_again(sample: Sample, noise: bytes) -> None:
    shape = LevelShape.of(sample.levels)
    with suppress(WireError):
        decoded = decode_levels(bytes([TASK_BASE]) + noise, shape, field="codes", task_base=sample.base)
        again = encode_levels(decoded, entropy=True, task_base=sample.base)
        assert again == bytes([TASK_BASE]) + noise or again[0] == PLAIN


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes([3, 0]),  # a form that no version has used
        bytes([TASK_BASE, 0]),  # and none is offered
        bytes([PLAIN]) + bytes(8),
        bytes([PLAIN]) + bytes(10),
        bytes([ENTROPY]) + bytes(10),
    ],
)
def test_bytes_that_cannot_be_are_refused_by_field(data: bytes) -> None:
    shape = LevelShape(rows=2, classes=10, k=0, bits=4, grid=Grid.SHARES)  # 9 bytes in plain bits
    assert refused_field(lambda: decode_levels(data, shape, field="labels.values")) == "labels.values"


def test_one_bit_of_what_the_base_says_already_is_next_to_nothing() -> None:
    levels = quantized(soft_rows(500), k=0, bits=1, grid=Grid.SHARES)
    plain, alone, against = (
        len(encode_levels(levels, entropy=entropy, task_base=base))
        for entropy, base in ((False, None), (True, None), (True, levels))
    )
    assert plain == 1 + 500 * 9 // 8 + 1
    assert alone < 500 * np.log2(10) / 8 * 1.05
    assert against < 20


@pytest.mark.parametrize("rows", [50, 130, 500])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8])
def test_shares_take_at_most_their_empirical_entropy_and_5_percent(rows: int, bits: int) -> None:
    levels = quantized(soft_rows(rows), k=0, bits=bits, grid=Grid.SHARES)
    assert len(encode_levels(levels, entropy=True)) <= 1.05 * entropy_bytes(levels.codes)


@pytest.mark.parametrize("rows", [130, 500])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8])
def test_logarithms_take_at_most_their_empirical_entropy_and_5_percent(rows: int, bits: int) -> None:
    levels = quantized(soft_rows(rows), k=0, bits=bits, grid=Grid.LOG)
    assert len(encode_levels(levels, entropy=True)) <= 1.05 * entropy_bytes(levels.codes)


def test_a_vocabulary_of_ten_thousand_is_coded_by_its_likeliest_words() -> None:
    labels = DenseSoftLabels(random_rows(20, 10_000, seed=3, concentration=0.001))
    levels = quantized(labels, k=16, bits=4, grid=Grid.SHARES)
    shape = LevelShape.of(levels)
    data = encode_levels(levels, entropy=True)
    assert same(decode_levels(data, shape, field="codes"), levels)
    # 16 of 10,000 words take log2 C(10000, 16) = 168 bits; the gaps between them come within a tenth.
    assert len(data) < 20 * 1.1 * (168 + 8 * 4) / 8
    assert same(
        decode_levels(
            encode_levels(levels, entropy=True, task_base=levels), shape, field="codes", task_base=levels
        ),
        levels,
    )


def test_a_device_without_the_library_writes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = quantized(soft_rows(40), k=0, bits=3, grid=Grid.SHARES)
    base = quantized(soft_rows(40, seed=1), k=0, bits=3, grid=Grid.SHARES)
    written = encode_levels(levels, entropy=True, task_base=base)
    monkeypatch.setattr(range_coder, "HAS_LIBRARY", False)
    assert encode_levels(levels, entropy=True, task_base=base) == written
    assert same(decode_levels(written, LevelShape.of(levels), field="codes", task_base=base), levels)
