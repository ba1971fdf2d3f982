from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.codec.api import decode_task, encode_task
from fedstill_proto.codec.public_rows import decode_rows, encode_rows
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.messages import (
    ClassSoftLabels,
    PersonalPlan,
    PublicSoftLabels,
    RowSelection,
    StartPlan,
    StartSource,
    SummaryKind,
    SummaryRequest,
)
from fedstill_proto.soft_labels.codec import SoftLabelCodec
from fedstill_proto.v1 import fedstill_pb2 as pb
from hypothesis import given

from tests.proto.wire_samples import (
    FLOAT32,
    THREE_CLASSES,
    UINT8,
    class_task,
    codecs,
    distributions,
    forged,
    public_task,
    refused_field,
)


def test_a_task_on_the_public_set_survives_the_wire() -> None:
    task = public_task()
    decoded = decode_task(encode_task(task, codec=UINT8))
    assert decoded.training == task.training
    assert not decoded.replace_student
    assert isinstance(decoded.soft_targets, PublicSoftLabels)
    np.testing.assert_array_equal(decoded.soft_targets.public_rows, [0, 7, 14])
    np.testing.assert_array_equal(decoded.soft_targets.soft_labels.dense(), THREE_CLASSES)
    np.testing.assert_array_equal(decoded.parameters["weight"], task.parameters["weight"])
    assert (decoded.request.kind, decoded.request.codec) == (SummaryKind.PUBLIC_SET, UINT8)
    np.testing.assert_array_equal(decoded.request.public_rows, [0, 7, 14])


def test_a_task_on_class_means_survives_the_wire() -> None:
    decoded = decode_task(encode_task(class_task(), codec=FLOAT32))
    assert isinstance(decoded.soft_targets, ClassSoftLabels)
    np.testing.assert_array_equal(decoded.soft_targets.present_classes, [0, 2])
    np.testing.assert_array_equal(decoded.soft_targets.soft_labels.dense(), THREE_CLASSES[:2])
    assert decoded.request.codec == class_task().request.codec
    assert decoded.parameters == {}


def test_what_else_is_asked_of_public_rows_survives_the_wire() -> None:
    plain = public_task()
    selection = RowSelection(least_density_ratio=0.5, most_ambiguity=0.75)
    anchors = np.array([9, 4], np.int64)
    rows = plain.request.public_rows
    request = SummaryRequest(
        SummaryKind.PUBLIC_SET,
        UINT8,
        rows,
        class_counts=True,
        selection=selection,
        anchor_rows=anchors,
        relative=True,
    )
    decoded = decode_task(encode_task(dataclasses.replace(plain, request=request), codec=UINT8)).request
    assert decoded.class_counts
    assert decoded.selection == selection
    assert decoded.anchor_rows.tolist() == [9, 4]
    assert decoded.relative
    assert decode_task(encode_task(plain, codec=UINT8)).request.selection is None


def test_how_the_owner_s_student_is_made_survives_the_wire() -> None:
    plain = public_task()
    training = dataclasses.replace(plain.training, held_out=0.125, proximal=0.5)
    personal = PersonalPlan(epochs=20, learning_rate=0.25, soft_weight=0.5)
    sent = dataclasses.replace(plain, training=training, personal=personal)
    decoded = decode_task(encode_task(sent, codec=UINT8))
    assert decoded.training == training
    assert decoded.personal == personal
    assert decode_task(encode_task(plain, codec=UINT8)).personal is None


@given(distributions().filter(len), codecs())
def test_soft_targets_travel_as_their_codec_says(probabilities: FloatArray, codec: SoftLabelCodec) -> None:
    blob = encode_task(public_task(probabilities), codec=codec)
    decoded = decode_task(blob)
    assert isinstance(decoded.soft_targets, PublicSoftLabels)
    travelled = pb.RoundTask.FromString(blob).soft_targets.public_set.soft_labels
    assert travelled == codec.encode(probabilities)
    assert decoded.soft_targets.soft_labels.dense().shape == probabilities.shape


def test_the_size_limit_comes_first() -> None:
    blob = encode_task(public_task(), codec=UINT8)
    assert refused_field(lambda: decode_task(blob, size_limit_bytes=len(blob) - 1)) == "RoundTask"
    decode_task(blob, size_limit_bytes=len(blob))


PUBLIC = "soft_targets.public_set"


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("protocol_version", 0, "protocol_version"),
        ("run", "", "run"),
        ("run", "a/b", "run"),
        ("family", "x" * 201, "family"),
        ("training", None, "training.optimizer"),
        ("training.optimizer", 0, "training.optimizer"),
        ("training.optimizer", 12, "training.optimizer"),
        ("training.batch_size", 0, "training.batch_size"),
        ("training.epochs", 2**32 - 1, "training.epochs"),
        ("training.learning_rate", -1, "training.learning_rate"),
        ("training.learning_rate", float("nan"), "training.learning_rate"),
        ("training.temperature", 0, "training.temperature"),
        ("training.temperature", float("inf"), "training.temperature"),
        ("training.soft_weight", 1.5, "training.soft_weight"),
        ("training.held_out", 0.75, "training.held_out"),
        ("personal.soft_weight", 1.5, "personal.soft_weight"),
        ("personal.learning_rate", float("nan"), "personal.learning_rate"),
        ("parameters.0.data", b"", "parameters[0].data"),
        (PUBLIC, None, "soft_targets"),
        (f"{PUBLIC}.soft_labels", None, f"{PUBLIC}.soft_labels.encoding"),
        (f"{PUBLIC}.soft_labels.values", bytes(9), f"{PUBLIC}.soft_labels.values"),
        (f"{PUBLIC}.public_rows", [0, 7, 7], f"{PUBLIC}.public_rows"),
        (f"{PUBLIC}.public_rows", [0, 7], f"{PUBLIC}.soft_labels.rows"),
        ("soft_targets.class_means.present_classes", [0], "soft_targets.class_means.soft_labels.encoding"),
        ("request", None, "request.kind"),
        ("request.kind", 77, "request.kind"),
        ("request.anchor_rows", [3, 3], "request.anchor_rows"),
        ("request.selection.most_ambiguity", 1.5, "request.most_ambiguity"),
        ("request.selection.least_density_ratio", float("nan"), "request.least_density_ratio"),
        ("request.kind", pb.SUMMARY_KIND_NONE, "request.codec"),
        ("request.encoding", 77, "request.encoding"),
        ("request.encoding", 7, "request.k"),
        ("request.drawn", 3, "request.drawn"),
        ("request.encoding", 5, "request.grid"),
        ("request.bits", 3, "request.bits"),
        ("request.delta", True, "request.bits"),
        ("request.base", bytes(8), "request.base"),
        ("request.encoding", 0, "request.codec"),
        ("request.k", 5, "request.k"),
        ("request.public_rows", [], "request.public_rows"),
        ("request.public_rows", [3, 1, 3], "request.public_rows"),
    ],
)
def test_a_forged_task_is_refused_by_field(path: str, value: Any, field: str) -> None:
    blob = forged(pb.RoundTask(), encode_task(public_task(), codec=UINT8), path, value)
    assert refused_field(lambda: decode_task(blob)) == field


def test_replacing_a_student_by_nothing_is_refused() -> None:
    blob = forged(pb.RoundTask(), encode_task(class_task(), codec=UINT8), "replace_student", True)
    assert refused_field(lambda: decode_task(blob)) == "replace_student"


def test_how_many_rows_are_mixed_travels_and_is_bounded() -> None:
    blob = encode_task(replace(public_task(), mixed_rows=290), codec=UINT8)
    assert decode_task(blob).mixed_rows == 290
    assert (
        refused_field(lambda: decode_task(forged(pb.RoundTask(), blob, "mixed_rows", 70_000))) == "mixed_rows"
    )


def test_a_start_travels() -> None:
    plan = StartPlan(source=StartSource.OWN, epochs=40, learning_rate=0.25, input_noise=0.5)
    sent = replace(public_task(), parameters={}, replace_student=False, start=plan)

    assert decode_task(encode_task(sent, codec=UINT8)).start == plan
    assert decode_task(encode_task(replace(sent, start=None), codec=UINT8)).start is None


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("start.source", 0, "start.source"),
        ("start.source", 3, "start.source"),
        ("start.epochs", 10_001, "start.epochs"),
        ("start.learning_rate", float("nan"), "start.learning_rate"),
        ("start.input_noise", -1.0, "start.input_noise"),
    ],
)
def test_a_forged_start_is_refused_by_field(path: str, value: Any, field: str) -> None:
    plan = StartPlan(source=StartSource.INSTALLED, epochs=1, learning_rate=0.1)
    sent = replace(public_task(), parameters={}, replace_student=False, start=plan)
    blob = forged(pb.RoundTask(), encode_task(sent, codec=UINT8), path, value)
    assert refused_field(lambda: decode_task(blob)) == field


def test_a_start_beside_weights_or_without_soft_labels_is_refused() -> None:
    plan = StartPlan(source=StartSource.INSTALLED, epochs=1, learning_rate=0.1)

    with pytest.raises(InvalidValue, match="start: 'installed' in a task that brings parameters"):
        replace(public_task(), start=plan)
    with pytest.raises(InvalidValue, match=r"start\.epochs: 1, but no soft labels of public rows"):
        replace(class_task(), parameters={}, replace_student=False, start=plan)


@pytest.mark.parametrize(
    ("rows", "in_bits"),
    [
        (np.arange(600), True),  # 75 bytes in place of 1,072
        (np.arange(0, 600, 3), True),
        (np.arange(63), False),
        (np.arange(100)[::-1].copy(), False),  # the order of the labels stays
        (np.arange(0, 70_000, 1000), False),
    ],
)
def test_rows_travel_in_the_shorter_form(rows: IntArray, in_bits: bool) -> None:
    message = pb.SummaryRequest()
    encode_rows(rows, message)

    np.testing.assert_array_equal(decode_rows(message, place="request"), rows)
    assert bool(message.row_bits) == in_bits
    assert message.ByteSize() <= pb.SummaryRequest(public_rows=rows.tolist()).ByteSize()


def test_forged_bits_of_rows_are_refused() -> None:
    for message in (
        pb.SummaryRequest(row_bits=b"\x01", public_rows=[3]),
        pb.SummaryRequest(row_bits=b"\x01\x00"),
        pb.SummaryRequest(row_bits=b"\x01" * ((1 << 20) + 1)),
    ):
        with pytest.raises(WireError, match=r"request\.row_bits"):
            decode_rows(message, place="request")
