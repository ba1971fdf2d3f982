from __future__ import annotations

import numpy as np
import pytest
from fedstill_proto.arrays import FloatArray
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec, decode_soft_labels
from fedstill_proto.soft_labels.codec_spec import parse_codec
from fedstill_proto.soft_labels.drawn.increasing import of_bits, row_bits, to_bits
from fedstill_proto.soft_labels.drawn.tails import DrawnTails, _systematic, with_drawn_tails
from fedstill_proto.soft_labels.gaussian import GaussianSoftLabels
from fedstill_proto.soft_labels.label_arrays import TopKSoftLabels
from fedstill_proto.v1 import fedstill_pb2 as pb
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.proto.wire_samples import distributions, drawn_codecs, random_rows

ROW = np.array([[0.4, 0.02, 0.3, 0.08, 0.0, 0.2]], np.float32)


def decoded(message: pb.SoftLabels) -> TopKSoftLabels:
    labels = decode_soft_labels(pb.SoftLabels.FromString(message.SerializeToString()), field="labels")
    assert isinstance(labels, TopKSoftLabels)
    return labels


def of_all_uniforms(k: int, drawn: int, row: FloatArray, *, steps: int) -> DrawnTails:
    """A row's draws for evenly spaced random numbers: their mean is an integral over all of them."""
    uniforms = (np.arange(steps) + 0.5) / steps
    likeliest = np.sort(np.argsort(-row[0], kind="stable")[:k])[None]
    tail = row.astype(np.float64)
    tail[0, likeliest] = 0
    draws = _systematic(tail.repeat(steps, axis=0), min(drawn, row.shape[1] - k), uniforms)
    named = np.take_along_axis(row, likeliest, axis=1)
    return DrawnTails(
        likeliest.repeat(steps, axis=0), named.repeat(steps, axis=0), draws, row.shape[1], uniforms
    )


def test_two_draws_of_three_others_by_hand() -> None:
    # The likeliest are 0 and 2; of 1, 3 and 5 with .02, .08 and .2, two draws stand for .15 each. Class 5 is
    # due 1.33 times, 3 due .53 times, 1 due .13 times.
    weights = of_all_uniforms(2, 2, ROW, steps=300).dense()
    assert {round(float(weight), 5) for weight in weights[:, 5]} == {0.15, 0.3}
    np.testing.assert_allclose(weights[:, [0, 2]], [[0.4, 0.3]] * 300)
    np.testing.assert_allclose(weights.mean(axis=0), ROW[0], atol=0.15 / 300 + 1e-6)


@given(distributions(max_rows=1, max_classes=12), st.integers(1, 5), st.integers(1, 5))
@settings(max_examples=40)
def test_the_mean_over_all_draws_is_the_soft_label(row: FloatArray, k: int, drawn: int) -> None:
    if not len(row) or np.sort(row[0])[:-k].sum() == 0:  # nothing to draw
        return
    steps = 200
    weights = of_all_uniforms(k, drawn, row, steps=steps).dense()
    np.testing.assert_allclose(weights.mean(axis=0), row[0], atol=1 / steps + 1e-5)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)


@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 8]))
@settings(max_examples=20)
def test_rounded_shares_are_unbiased_too(seed: int, bits: int) -> None:
    # Over the random numbers of the rounding, evenly spaced, a share that is due .3 is given in 3 of 10.
    steps = 50
    tails = with_drawn_tails(random_rows(1, 9, seed=seed), k=3, drawn=2, seed=seed)
    rows = (each.repeat(steps, axis=0) for each in (tails.indices, tails.probabilities, tails.draws))
    spread = DrawnTails(*rows, 9, (np.arange(steps) + 0.5) / steps)
    rounded = decoded(SoftLabelCodec(Encoding.DRAWN, 3, bits, drawn=2).encode(spread)).dense()
    atol = 1 / (steps * (2**bits - 1)) + 1e-5
    np.testing.assert_allclose(rounded.mean(axis=0), tails.dense()[0], atol=atol)


@given(distributions(max_classes=60), drawn_codecs())
@settings(max_examples=40)
def test_what_is_decoded_names_k_and_m_classes_that_add_up_to_1(
    rows: FloatArray, codec: SoftLabelCodec
) -> None:
    message = codec.encode(rows)
    labels = decoded(message)
    classes = rows.shape[1]
    assert labels.k == min(codec.k + codec.drawn, classes) == (codec.kept(classes) or classes)
    np.testing.assert_allclose(labels.probabilities.sum(axis=1), 1, atol=1e-5)
    assert len(message.values) == -(-len(rows) * codec.drawn_shape(1, classes).row_bits // 8)
    assert codec.blank(labels).ByteSize() == message.ByteSize()
    assert codec.encode(rows) == message  # the draws of a soft label are its own


def test_a_quarter_of_a_million_classes_take_a_hundred_bytes_a_row() -> None:
    rows = random_rows(3, 250_000, seed=5, concentration=0.02)
    codec = parse_codec("topk16,drawn32")
    message = codec.encode(rows)
    # 16 classes of 13 low bits and 46 high, 32 of 12 and 93, and 16 bytes of shares.
    bits = 16 * 13 + 46 + 32 * 12 + 93 + 16 * 8
    assert codec.drawn_shape(1, 250_000).row_bits == bits == 859
    assert len(message.values) == -(-3 * bits // 8)
    labels = decoded(message)
    assert labels.k == 48
    likeliest = np.sort(np.argsort(-rows, axis=1)[:, :16], axis=1)
    assert all(set(likeliest[row]) <= set(labels.indices[row]) for row in range(3))


def test_named_classes_keep_their_sum_where_they_are_drawn_again() -> None:
    # After a mean, k + m' classes of sum 1 are narrowed again: those beyond the likeliest are drawn of.
    together = TopKSoftLabels(np.array([[1, 4, 7, 9]]), np.array([[0.5, 0.2, 0.2, 0.1]], np.float32), 250_000)
    means = np.zeros(10)
    for seed in range(200):
        tails = with_drawn_tails(together, k=1, drawn=2, seed=seed).named()
        means[tails.indices[0, tails.probabilities[0] > 0]] += tails.probabilities[
            0, tails.probabilities[0] > 0
        ]
    np.testing.assert_allclose(means[[1, 4, 7, 9]] / 200, [0.5, 0.2, 0.2, 0.1], atol=0.03)
    assert means.sum() == pytest.approx(200, abs=1e-2)


@given(st.lists(st.integers(0, 99), max_size=20))
def test_rising_numbers_are_read_as_they_were_written(numbers: list[int]) -> None:
    rows = np.array([sorted(numbers)] * 2, np.int64).reshape(2, len(numbers))
    bits = to_bits(rows, 100)
    assert bits.shape == (2, row_bits(len(numbers), 100))
    np.testing.assert_array_equal(of_bits(bits, len(numbers), 100), rows)


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("k", 0, "0 likeliest"),
        ("k", 7, "7 likeliest"),
        ("drawn", 5, "5 draws of 6 classes"),
        ("drawn", 0, "are not named"),
        ("bits", 17, "17 is not 1 to 16"),
        ("bits", 1, "bytes, expected"),
        ("rows", 1 << 31, "too many"),
        ("classes", 0, "0 is not 1 to"),
        ("classes", (1 << 24) + 1, "is not 1 to"),
        ("values", b"", "0 bytes, expected"),
        ("values", b"\xff" * 4, "stand for no drawn tails"),
        ("values", b"\x00" * 4, "stand for no drawn tails"),
        ("indices", b"1", "belong to other encodings"),
        ("grid", 1, "belong to other encodings"),
        ("encoding", int(pb.SOFT_LABEL_ENCODING_TOP_K), "draws none"),
    ],
)
def test_bytes_that_nobody_writes_are_refused(field: str, value: object, problem: str) -> None:
    message = SoftLabelCodec(Encoding.DRAWN, 2, drawn=2).encode(ROW)
    assert len(message.values) == 4
    setattr(message, field, value)
    if field == "encoding":
        message.bits = 0
    with pytest.raises(WireError, match=problem):
        decode_soft_labels(message, field="labels")


@given(st.binary(min_size=4, max_size=4))
def test_any_bytes_are_soft_labels_or_refused(values: bytes) -> None:
    message = SoftLabelCodec(Encoding.DRAWN, 2, drawn=2).encode(ROW)
    message.values = values
    try:
        labels = decoded(message)
    except WireError:
        return
    assert labels.probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_draws_are_those_of_their_seed() -> None:
    rows = random_rows(50, 400, seed=3)
    one, same, other = (with_drawn_tails(rows, k=4, drawn=8, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.draws, same.draws)
    assert (one.draws != other.draws).any()


def test_numbers_have_no_drawn_tails() -> None:
    with pytest.raises(InvalidValue, match="numbers"):
        with_drawn_tails(GaussianSoftLabels(np.zeros((1, 2), np.float32)), k=1, drawn=1)
