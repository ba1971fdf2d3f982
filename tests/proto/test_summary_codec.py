from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from fedstill_proto.arrays import FloatArray, ParameterSpec
from fedstill_proto.codec.api import Expected, decode_summary, encode_summary
from fedstill_proto.errors import InvalidValue
from fedstill_proto.messages import PrivateStatistics, SoftLabelSummary, SummaryKind, SummaryRequest
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels
from fedstill_proto.v1 import fedstill_pb2 as pb
from hypothesis import given

from tests.proto.wire_samples import (
    FAMILY,
    ROUND,
    RUN,
    THREE_CLASSES,
    UINT8,
    class_summary,
    codecs,
    distributions,
    expected_of,
    forged,
    parameter_summary,
    prototype_summary,
    public_summary,
    public_task,
    refused_field,
    sealed,
    selected_summary,
)


@given(distributions(), codecs())
def test_soft_labels_survive_the_wire(probabilities: FloatArray, codec: SoftLabelCodec) -> None:
    for summary in (public_summary(probabilities), class_summary(probabilities[: probabilities.shape[1]])):
        blob = encode_summary(summary, codec=codec)
        decoded = decode_summary(blob, expected=expected_of(summary, codec))

        sent, got = summary.statistics, decoded.statistics
        assert sent.soft_labels is not None
        assert got.soft_labels is not None
        assert dataclasses.replace(decoded, statistics=sent).__dict__ == summary.__dict__
        np.testing.assert_array_equal(got.present_classes, sent.present_classes)
        np.testing.assert_array_equal(got.class_examples, sent.class_examples)
        # What these codecs do to the numbers is proved in test_soft_labels.py.
        travelled = pb.SoftLabelSummary.FromString(blob).statistics.soft_labels
        assert travelled == codec.encode(sent.soft_labels)
        assert got.soft_labels.dense().shape == sent.soft_labels.dense().shape


def test_parameters_survive_the_wire_in_their_order() -> None:
    summary = parameter_summary()
    blob = encode_summary(summary, codec=None)
    decoded = decode_summary(blob, expected=expected_of(summary, None)).statistics
    assert list(decoded.parameters) == ["b.weight", "a.bias"]
    assert decoded.examples == 40
    for name, array in summary.statistics.parameters.items():
        np.testing.assert_array_equal(decoded.parameters[name], array)
        assert decoded.parameters[name].flags.writeable


def test_a_summary_that_only_says_done() -> None:
    summary = SoftLabelSummary("run", 0, "cnn", SummaryKind.NONE, PrivateStatistics())
    decoded = decode_summary(encode_summary(summary, codec=None), expected=expected_of(summary, None))
    assert decoded.kind is SummaryKind.NONE
    assert decoded.statistics.soft_labels is None


def test_a_device_without_examples_has_no_class_means() -> None:
    summary = class_summary(THREE_CLASSES[:0])
    decoded = decode_summary(encode_summary(summary, codec=UINT8), expected=expected_of(summary, UINT8))
    assert decoded.statistics.soft_labels is not None
    assert decoded.statistics.soft_labels.rows == 0


def test_a_selection_with_class_counts() -> None:
    summary = selected_summary()
    blob = encode_summary(summary, codec=UINT8)
    decoded = decode_summary(blob, expected=expected_of(summary, UINT8)).statistics
    assert decoded.answered is not None
    assert decoded.answered.tolist() == [True, *[False] * 4, True, False, False, True]
    assert decoded.soft_labels is not None
    np.testing.assert_array_equal(decoded.soft_labels.dense(), THREE_CLASSES)
    assert decoded.present_classes.tolist() == [0, 2]
    assert decoded.class_examples.tolist() == [7, 9]
    # Nine bits are two bytes; a count and a class are a byte each; and each list has a header of two.
    assert len(blob) == len(encode_summary(public_summary(), codec=UINT8)) + (2 + 2) + (2 + 2) + (2 + 2)


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("answered", b"", "answered"),
        ("answered", b"\x07", "answered"),
        ("answered", b"\x21\x03", "answered"),  # a tenth row
        ("answered", b"\x21\x00", "soft_labels.rows"),
        ("present_classes", [0, 3], "present_classes"),
        ("present_classes", [2, 0], "present_classes"),
        ("class_examples", [7], "class_examples"),
        ("class_examples", [7, 0], "class_examples"),
    ],
)
def test_a_forged_selection_is_refused_by_field(path: str, value: Any, field: str) -> None:
    summary = selected_summary()
    blob = forged(pb.SoftLabelSummary(), encode_summary(summary, codec=UINT8), f"statistics.{path}", value)
    expected = expected_of(summary, UINT8)
    assert refused_field(lambda: decode_summary(blob, expected=expected)) == f"statistics.{field}"


@pytest.mark.parametrize(("asked", "field"), [("selected", "answered"), ("class_counts", "present_classes")])
def test_a_selection_or_counts_that_nobody_asked_for_are_refused(asked: str, field: str) -> None:
    summary = selected_summary()
    blob = encode_summary(summary, codec=UINT8)
    unasked = dataclasses.replace(expected_of(summary, UINT8), **{asked: False})
    assert refused_field(lambda: decode_summary(blob, expected=unasked)) == f"statistics.{field}"


def test_prototypes_survive_the_wire_a_byte_each() -> None:
    summary = prototype_summary()
    blob = encode_summary(summary, codec=None)
    decoded = decode_summary(blob, expected=expected_of(summary, None)).statistics
    np.testing.assert_array_equal(decoded.features, summary.statistics.features)
    assert decoded.present_classes.tolist() == [0, 2]
    assert decoded.class_examples.tolist() == [3, 5]


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("features", b"", "features"),
        ("features", bytes(5), "features"),
        ("features", bytes(9), "features"),
        ("features", b"\x80" + bytes(5), "features"),  # -128 of 127
        ("present_classes", [0], "features"),
        ("present_classes", [0, 3], "present_classes"),
        ("present_classes", [2, 0], "present_classes"),
        ("class_examples", [1, 0], "class_examples"),
    ],
)
def test_forged_prototypes_are_refused_by_field(path: str, value: Any, field: str) -> None:
    summary = prototype_summary()
    blob = forged(pb.SoftLabelSummary(), encode_summary(summary, codec=None), f"statistics.{path}", value)
    expected = expected_of(summary, None)
    assert refused_field(lambda: decode_summary(blob, expected=expected)) == f"statistics.{field}"


def test_a_device_without_examples_has_no_prototypes_but_says_so() -> None:
    nothing = PrivateStatistics(features=np.zeros((0, 3), np.float32))
    summary = dataclasses.replace(prototype_summary(), statistics=nothing)
    blob, expected = encode_summary(summary, codec=None), expected_of(summary, None)
    assert decode_summary(blob, expected=expected).statistics.features is not None
    silent = forged(pb.SoftLabelSummary(), blob, "statistics", None)
    assert refused_field(lambda: decode_summary(silent, expected=expected)) == "statistics.features"


def test_features_that_nobody_asked_for_are_refused() -> None:
    blob = encode_summary(public_summary(), codec=UINT8)
    blob = forged(pb.SoftLabelSummary(), blob, "statistics.features", bytes(9))
    expected = expected_of(public_summary(), UINT8)
    assert refused_field(lambda: decode_summary(blob, expected=expected)) == "statistics.features"
    asked = dataclasses.replace(expected, anchors=3)
    decoded = decode_summary(blob, expected=asked).statistics
    assert decoded.features is not None
    assert decoded.features.shape == (3, 3)


LABELS = "statistics.soft_labels"


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("protocol_version", 2, "protocol_version"),
        ("protocol_version", None, "protocol_version"),
        ("run", "another", "run"),
        ("round", 4, "round"),
        ("family", "cnn", "family"),
        ("kind", pb.SUMMARY_KIND_PUBLIC_SET, "kind"),
        ("kind", 77, "kind"),
        ("statistics", None, LABELS),
        (LABELS, None, LABELS),
        (f"{LABELS}.encoding", pb.SOFT_LABEL_ENCODING_FLOAT32, f"{LABELS}.encoding"),
        (f"{LABELS}.encoding", 77, f"{LABELS}.encoding"),
        (f"{LABELS}.classes", 2, f"{LABELS}.classes"),
        (f"{LABELS}.rows", 2, f"{LABELS}.rows"),
        (f"{LABELS}.values", bytes(8), f"{LABELS}.values"),
        (f"{LABELS}.values", bytes(9), f"{LABELS}.values"),
        ("statistics.present_classes", [0, 1], f"{LABELS}.rows"),
        ("statistics.present_classes", [0, 0, 1], "statistics.present_classes"),
        ("statistics.present_classes", [2, 1, 0], "statistics.present_classes"),
        ("statistics.present_classes", [0, 1, 3], "statistics.present_classes"),
        ("statistics.class_examples", [1, 0, 1], "statistics.class_examples"),
        ("statistics.class_examples", [1, 1], "statistics.class_examples"),
        ("statistics.examples", 1, "statistics.examples"),
    ],
)
def test_a_forged_summary_is_refused_by_field(path: str, value: Any, field: str) -> None:
    blob = forged(pb.SoftLabelSummary(), encode_summary(class_summary(), codec=UINT8), path, value)
    expected = expected_of(class_summary(), UINT8)
    assert refused_field(lambda: decode_summary(blob, expected=expected)) == field


@pytest.mark.parametrize(
    ("part", "value", "field"),
    [
        ("1.data", bytes(7), "[1].data"),
        ("1.shape", [2**32 - 1] * 8, "[1].data"),
        ("1.shape", [0], "[1].shape"),
        ("1.shape", [1] * 9, "[1].shape"),
        ("1.name", "b.weight", "[1].name"),
        ("1.name", "../../etc", "[1].name"),
        ("1.name", "", "[1].name"),
        ("1.name", "other", ""),
        ("1.shape", [1, 2], ""),
        ("1.data", np.array([1, np.nan], "<f4").tobytes(), "[a.bias]"),
        ("1.data", np.array([np.inf, 1], "<f4").tobytes(), "[a.bias]"),
    ],
)
def test_forged_parameters_are_refused_by_field(part: str, value: Any, field: str) -> None:
    summary = parameter_summary()
    blob = encode_summary(summary, codec=None)
    blob = forged(pb.SoftLabelSummary(), blob, f"statistics.parameters.{part}", value)
    expected = expected_of(summary, None)
    assert refused_field(lambda: decode_summary(blob, expected=expected)) == f"statistics.parameters{field}"


def test_what_was_not_asked_for_is_refused() -> None:
    nothing = Expected(RUN, ROUND, FAMILY, SummaryKind.NONE, classes=3)
    message = pb.SoftLabelSummary(protocol_version=1, run=RUN, round=ROUND, family=FAMILY, kind=1)
    message.statistics.parameters.add(name="w", shape=[1], data=bytes(4))
    blob = sealed(message.SerializeToString())
    assert refused_field(lambda: decode_summary(blob, expected=nothing)) == "statistics.parameters"

    message.statistics.soft_labels.CopyFrom(UINT8.encode(THREE_CLASSES))
    with_labels = sealed(message.SerializeToString())
    assert refused_field(lambda: decode_summary(with_labels, expected=nothing)) == LABELS


def test_the_size_limit_comes_first() -> None:
    expected = expected_of(class_summary(), UINT8)
    limit = expected.size_limit_bytes
    assert refused_field(lambda: decode_summary(bytes(limit + 1), expected=expected)) == "SoftLabelSummary"
    assert refused_field(lambda: decode_summary(bytes(limit), expected=expected)) == "checksum"


@given(distributions(max_rows=40, max_classes=300), codecs())
def test_no_good_summary_is_over_the_limit(probabilities: FloatArray, codec: SoftLabelCodec) -> None:
    longest = "x" * 200
    for summary in (public_summary(probabilities), class_summary(probabilities[: probabilities.shape[1]])):
        largest = dataclasses.replace(summary, run=longest, family=longest, round=2**32 - 1)
        limit = expected_of(largest, codec).size_limit_bytes
        assert len(encode_summary(largest, codec=codec)) <= limit


@pytest.mark.parametrize("codec", [UINT8, SoftLabelCodec(Encoding.TOP_K, k=1)])
def test_many_large_counts_are_within_the_limit(codec: SoftLabelCodec) -> None:
    classes = np.arange(2000, dtype=np.int64)
    labels = DenseSoftLabels(np.eye(2000, dtype=np.float32))
    statistics = PrivateStatistics(labels, classes, class_examples=np.full(2000, 2**32 - 1))
    summary = SoftLabelSummary(RUN, ROUND, FAMILY, SummaryKind.CLASS_MEANS, statistics)
    decode_summary(encode_summary(summary, codec=codec), expected=expected_of(summary, codec))


def test_expected_follows_the_task() -> None:
    task = public_task()
    weights = {"w": np.zeros((3, 2), np.float32)}
    expected = Expected.of(task, 3, weights)
    assert expected == Expected(task.run, 3, task.family, SummaryKind.PUBLIC_SET, 3, codec=UINT8, rows=3)
    averaging = dataclasses.replace(task, request=SummaryRequest(SummaryKind.PARAMETERS))
    specs = (ParameterSpec("w", (3, 2)),)
    assert Expected.of(averaging, 3, weights).parameters == specs
    assert Expected.of(averaging, 3, specs).parameters == specs


def test_labels_need_a_codec() -> None:
    with pytest.raises(InvalidValue, match=r"^codec: "):
        encode_summary(class_summary(), codec=None)
