from __future__ import annotations

import numpy as np
import pytest
from fedstill_proto.arrays import FloatArray
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.soft_labels.codec import MAX_CELLS, Encoding, SoftLabelCodec, decode_soft_labels
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels, TopKSoftLabels
from fedstill_proto.v1 import fedstill_pb2 as pb
from hypothesis import given

from tests.proto.wire_samples import FLOAT32, THREE_CLASSES, UINT8, codecs, distributions, random_rows

FLOAT16 = SoftLabelCodec(Encoding.FLOAT16)
TOP_2 = SoftLabelCodec(Encoding.TOP_K, k=2)


def decode(message: pb.SoftLabels) -> DenseSoftLabels | TopKSoftLabels:
    return decode_soft_labels(message, field="labels")


def normalized(probabilities: FloatArray) -> np.ndarray:
    exact = probabilities.astype(np.float64)
    return exact / exact.sum(axis=1, keepdims=True)


@given(distributions(max_classes=300))
def test_float32_is_exact(probabilities: FloatArray) -> None:
    decoded = decode(FLOAT32.encode(probabilities))
    np.testing.assert_array_equal(decoded.dense(), probabilities)


@given(distributions(max_classes=300))
def test_float16_errs_by_the_stated_bound(probabilities: FloatArray) -> None:
    exact = normalized(probabilities)
    decoded = decode(FLOAT16.encode(probabilities)).dense()
    bound = exact / 1000 + (1 + probabilities.shape[1] * exact) * 2.0**-24
    assert (np.abs(decoded - exact) <= bound + np.finfo(np.float32).eps).all()


def test_float16_holds_many_tiny_probabilities() -> None:
    uniform = np.full((1, 1_000_000), 1e-6, np.float32)
    decoded = decode(FLOAT16.encode(uniform)).dense()
    assert decoded.sum(dtype=np.float64) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(decoded, 1e-6, rtol=1e-3)


@given(distributions(max_classes=300))
def test_uint8_errs_by_less_than_a_255th(probabilities: FloatArray) -> None:
    decoded = decode(UINT8.encode(probabilities)).dense()
    assert (np.abs(decoded - normalized(probabilities)) < 1 / 255 + 1e-7).all()


@given(distributions(max_classes=300), codecs())
def test_every_encoding_decodes_to_distributions(probabilities: FloatArray, codec: SoftLabelCodec) -> None:
    message = pb.SoftLabels.FromString(codec.encode(probabilities).SerializeToString())
    decoded = decode(message)
    dense = decoded.dense()
    assert dense.dtype == np.float32
    assert dense.shape == probabilities.shape == (decoded.rows, decoded.classes)
    np.testing.assert_allclose(dense.sum(axis=1), 1, atol=1e-4)
    assert ((dense >= 0) & (dense <= 1)).all()


@given(distributions(max_classes=300), codecs().filter(lambda codec: codec.encoding is Encoding.TOP_K))
def test_top_k_errs_by_less_than_a_255th(probabilities: FloatArray, codec: SoftLabelCodec) -> None:
    exact = normalized(probabilities)
    decoded = decode(codec.encode(probabilities))
    assert isinstance(decoded, TopKSoftLabels)
    kept = np.take_along_axis(exact, decoded.indices, axis=1)
    assert (np.abs(decoded.probabilities - kept) < 1 / 255 + 2e-7).all()
    assert (np.abs(decoded.rest - (1 - kept.sum(axis=1))) < 1 / 255 + 1e-6).all()
    # What is kept is at least as likely as what is not.
    dropped = exact.copy()
    np.put_along_axis(dropped, decoded.indices, -1, axis=1)
    if len(exact):
        assert (kept.min(axis=1) >= dropped.max(axis=1) - 1e-7).all()


@given(distributions(), codecs())
def test_labels_that_were_coded_once_are_coded_the_same_again(
    probabilities: FloatArray, codec: SoftLabelCodec
) -> None:
    once = codec.encode(probabilities)
    if codec.encoding is not Encoding.FLOAT16:  # normalizing may move a float16 by its last place
        assert codec.encode(decode(once)) == once


def test_rows_that_add_up_to_nearly_1_are_normalized_before_they_are_rounded() -> None:
    # Each of these becomes a float16 of 0.33374, and three of them more than a row may hold.
    nearly = np.full((1, 3), 1.0009 / 3, np.float32)
    np.testing.assert_allclose(decode(FLOAT16.encode(nearly)).dense(), 1 / 3, rtol=1e-6)


def test_top_k_that_keeps_every_class_gives_no_share_to_the_rest() -> None:
    # In shares: 24 + f, ten times 23 + f, and a rest of 0.1, which would win the last share as f is 0.9 / 11.
    shares = np.full((1, 11), 23 + 0.9 / 11)
    shares[0, 0] += 1
    message = SoftLabelCodec(Encoding.TOP_K, k=11).encode((shares / 255).astype(np.float32))
    assert sum(message.values) == 255
    decode(message)


def test_top_k_spreads_the_rest_over_the_other_classes() -> None:
    labels = TopKSoftLabels(np.array([[1, 3]]), np.array([[0.25, 0.25]], np.float32), classes=6)
    np.testing.assert_array_equal(labels.rest, [0.5])
    np.testing.assert_array_equal(labels.dense(), [[0.125, 0.25, 0.125, 0.25, 0.125, 0.125]])


def test_top_k_keeps_the_first_of_equals() -> None:
    labels = decode(TOP_2.encode(np.full((1, 4), 0.25, np.float32)))
    assert isinstance(labels, TopKSoftLabels)
    np.testing.assert_array_equal(labels.indices, [[0, 1]])


@pytest.mark.parametrize(("classes", "index_bytes"), [(256, 1), (257, 2), (65_536, 2), (65_537, 4)])
def test_indices_are_as_narrow_as_the_classes_allow(classes: int, index_bytes: int) -> None:
    probabilities = np.zeros((1, classes), np.float32)
    probabilities[0, [5, classes - 1]] = 0.5
    message = TOP_2.encode(probabilities)
    assert len(message.indices) == 2 * index_bytes
    assert len(message.indices) + len(message.values) == TOP_2.row_bytes(classes)
    decoded = decode(message)
    assert isinstance(decoded, TopKSoftLabels)
    np.testing.assert_array_equal(decoded.indices, [[5, classes - 1]])


def test_a_row_takes_what_row_bytes_says() -> None:
    probabilities = random_rows(4, 10, seed=1)
    for codec, expected in [(FLOAT32, 40), (FLOAT16, 20), (UINT8, 10)]:
        assert codec.row_bytes(10) == expected
        assert len(codec.encode(probabilities).values) == 4 * expected


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ([0.5, 0.4, 0.0], "adds up to"),
        ([0.6, 0.6, 0.0], "adds up to"),
        ([1.5, -0.5, 0.0], "is not in 0 to 1"),
        ([np.nan, 1.0, 0.0], "is not in 0 to 1"),
        ([np.inf, 0.0, 0.0], "adds up to"),
        ([0.0, 0.0, 0.0], "adds up to"),
    ],
)
def test_rows_that_are_no_distribution_are_not_made(row: list[float], problem: str) -> None:
    with pytest.raises(InvalidValue, match=problem):
        DenseSoftLabels(np.array([row], np.float32))


def raw(encoding: int, dtype: str, row: list[float], **fields: int) -> pb.SoftLabels:
    values = np.array(row, dtype)
    return pb.SoftLabels(encoding=encoding, rows=1, classes=len(row), values=values.tobytes(), **fields)


@pytest.mark.parametrize(("encoding", "dtype"), [(1, "<f4"), (2, "<f2")])
@pytest.mark.parametrize(
    "row",
    [
        [np.nan, 1, 0],
        [np.inf, 0, 0],
        [-np.inf, 0, 0],
        [1.5, -0.5, 0],
        [0.9, 0, 0],
        [0.6, 0.6, 0],
        [0, 0, 0],
        [1.0009765625, 0, 0],  # a float16 just above 1, within the tolerance of the sum
    ],
)
def test_float_rows_that_are_no_distribution_are_refused(encoding: int, dtype: str, row: list[float]) -> None:
    with pytest.raises(WireError, match=r"^labels\.values: "):
        decode(raw(encoding, dtype, row))


@pytest.mark.parametrize("row", [[254, 0, 0], [255, 1, 0], [0, 0, 0], [255, 255, 1]])
def test_uint8_rows_must_hold_exactly_255_shares(row: list[float]) -> None:
    with pytest.raises(WireError, match=r"^labels\.values: row 0 adds up to"):
        decode(raw(3, "u1", row))


def top_k(indices: list[int], codes: list[int], *, classes: int = 3, k: int | None = None) -> pb.SoftLabels:
    return pb.SoftLabels(
        encoding=pb.SOFT_LABEL_ENCODING_TOP_K,
        rows=1,
        classes=classes,
        k=len(indices) if k is None else k,
        indices=bytes(indices),
        values=bytes(codes),
    )


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (top_k([1, 1], [100, 100]), "indices"),
        (top_k([2, 1], [100, 100]), "indices"),
        (top_k([1, 3], [100, 100]), "indices"),
        (top_k([0, 1], [200, 100]), "values"),
        (top_k([0, 1, 2], [100, 100, 54]), "values"),  # no class is left for the rest
        (top_k([0, 1, 2, 3], [0, 0, 0, 0]), "k"),
        (top_k([], []), "k"),
        (top_k([0], [1, 1]), "values"),
        (top_k([0, 1], [1], k=1), "indices"),
        (top_k([0, 1], [100, 100], classes=300), "indices"),  # 300 classes need two bytes an index
    ],
)
def test_top_k_rows_that_make_no_sense_are_refused(message: pb.SoftLabels, field: str) -> None:
    with pytest.raises(WireError) as caught:
        decode(message)
    assert caught.value.field == f"labels.{field}"


def test_a_good_top_k_row_passes() -> None:
    decoded = decode(top_k([0, 2], [51, 153]))
    np.testing.assert_allclose(decoded.dense(), [[0.2, 0.2, 0.6]], atol=1e-7)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"encoding": 0}, "encoding"),
        ({"encoding": 9}, "encoding"),
        ({"encoding": -1}, "encoding"),
        ({"rows": 2}, "rows"),
        ({"classes": 4}, "classes"),
        ({"k": 1}, "k"),
        ({"indices": b"\0"}, "k"),
        ({"values": b""}, "values"),
        ({"values": UINT8.encode(THREE_CLASSES).values + b"\0"}, "values"),
    ],
)
def test_a_changed_description_is_refused(change: dict[str, object], field: str) -> None:
    message = UINT8.encode(THREE_CLASSES)
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(WireError) as caught:
        decode_soft_labels(message, field="labels", rows=3, classes=3)
    assert caught.value.field == f"labels.{field}"


@pytest.mark.parametrize("encoding", [1, 2, 3, 4])
def test_a_small_message_with_a_huge_shape_is_refused_before_anything_is_allocated(encoding: int) -> None:
    for rows, classes in [(2**32 - 1, 2**32 - 1), (MAX_CELLS, 2), (2, MAX_CELLS), (1, 2**24 + 1), (5, 0)]:
        message = pb.SoftLabels(encoding=encoding, rows=rows, classes=classes, k=1, values=b"\xff")
        with pytest.raises(WireError, match=r"^labels\.classes: "):
            decode(message)


@pytest.mark.parametrize(("encoding", "k"), [(Encoding.TOP_K, 0), (Encoding.TOP_K, -1), (Encoding.UINT8, 2)])
def test_a_codec_that_makes_no_sense_is_not_made(encoding: Encoding, k: int) -> None:
    with pytest.raises(InvalidValue, match=r"^k: "):
        SoftLabelCodec(encoding, k)
