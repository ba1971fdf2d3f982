"""A summary coded against the soft labels that its task carried, from one side to the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fedstill_proto.arrays import FloatArray
from fedstill_proto.codec.api import Expected, decode_summary, decode_task, encode_summary, encode_task
from fedstill_proto.codec.task_base import base_of_targets, delta_base_of, task_base
from fedstill_proto.messages import (
    PrivateStatistics,
    PublicSoftLabels,
    RoundTask,
    SoftLabelSummary,
    SummaryKind,
    SummaryRequest,
)
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels
from fedstill_proto.v1 import fedstill_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.wire_samples import (
    FAMILY,
    PLAN,
    ROUND,
    RUN,
    UINT8,
    all_codecs,
    forged,
    level_codecs,
    random_rows,
    refused_field,
)

DELTA = SoftLabelCodec(Encoding.LEVELS, bits=3, entropy=True, delta=True)
ASKED = np.array([9, 2, 40, 3], np.int64)


def task_with(targets: FloatArray, *, rows: np.ndarray, codec: SoftLabelCodec = DELTA) -> RoundTask:
    """A task that carries soft labels of the public rows `rows` and asks for those of ASKED."""
    return RoundTask(
        run=RUN,
        round=ROUND,
        family=FAMILY,
        training=PLAN,
        request=SummaryRequest(SummaryKind.PUBLIC_SET, codec, ASKED),
        soft_targets=PublicSoftLabels(rows, DenseSoftLabels(targets)),
    )


def summary_of(probabilities: FloatArray) -> SoftLabelSummary:
    statistics = PrivateStatistics(soft_labels=DenseSoftLabels(probabilities))
    return SoftLabelSummary(RUN, ROUND, FAMILY, SummaryKind.PUBLIC_SET, statistics)


def test_a_base_is_made_of_the_asked_rows_in_their_order() -> None:
    targets = np.eye(8, dtype=np.float32)[[7, 1, 2, 3, 4]]
    task = task_with(targets, rows=np.array([40, 9, 3, 2, 5]))
    base = base_of_targets(task.request, task.soft_targets)
    assert base is not None
    assert base.soft_labels().dense().argmax(axis=1).tolist() == [1, 3, 7, 2]  # of rows 9, 2, 40 and 3


@pytest.mark.parametrize("rows", [[40, 9, 3], [41, 9, 3, 2], []])
def test_there_is_none_if_an_asked_row_is_missing(rows: list[int]) -> None:
    task = task_with(random_rows(len(rows), 8, seed=0), rows=np.array(rows, np.int64))
    assert base_of_targets(task.request, task.soft_targets) is None
    assert decode_task(encode_task(task, codec=UINT8)).request.base == b""


@given(level_codecs(), all_codecs(), st.integers(0, 99))
def test_both_sides_come_to_the_same_base(
    uplink: SoftLabelCodec, downlink: SoftLabelCodec, seed: int
) -> None:
    rows = np.arange(50, dtype=np.int64)
    sent = task_with(random_rows(50, 8, seed=seed), rows=rows, codec=uplink)
    blob = encode_task(sent, codec=downlink)
    device, server = decode_task(blob), decode_task(blob)
    base = task_base(device.request, device.soft_targets)
    assert (base is not None) == uplink.delta
    answer = summary_of(random_rows(len(ASKED), 8, seed=seed + 1))
    coded = encode_summary(answer, codec=uplink, delta_base=delta_base_of(device))
    decoded = decode_summary(coded, expected=Expected.of(server, 8))
    assert answer.statistics.soft_labels is not None
    assert decoded.statistics.soft_labels is not None
    expected = uplink.rounded(answer.statistics.soft_labels)
    np.testing.assert_array_equal(decoded.statistics.soft_labels.dense(), expected.dense())


def test_a_device_that_comes_to_another_base_answers_whole() -> None:
    rows = np.arange(50, dtype=np.int64)
    blob = encode_task(task_with(random_rows(50, 8, seed=0), rows=rows), codec=UINT8)
    task = decode_task(blob)
    elsewhere = replace(task, request=replace(task.request, base=bytes(8)))
    assert task_base(elsewhere.request, task.soft_targets) is None
    answer = summary_of(random_rows(len(ASKED), 8, seed=1))
    whole = encode_summary(answer, codec=DELTA, delta_base=delta_base_of(elsewhere))
    assert decode_summary(whole, expected=Expected.of(task, 8)).statistics.soft_labels is not None


@pytest.mark.parametrize(
    ("name", "value"), [("rows", 4), ("classes", 8), ("k", 1), ("bits", 3), ("grid", 1), ("indices", b"1")]
)
def test_levels_that_repeat_what_was_asked_are_refused(name: str, value: object) -> None:
    task = decode_task(encode_task(task_with(random_rows(50, 8, seed=0), rows=np.arange(50)), codec=UINT8))
    good = encode_summary(summary_of(random_rows(4, 8, seed=1)), codec=DELTA)
    bad = forged(pb.SoftLabelSummary(), good, f"statistics.soft_labels.{name}", value)
    place = f"statistics.soft_labels.{name}"
    assert refused_field(lambda: decode_summary(bad, expected=Expected.of(task, 8))) == place


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("grid", 7, "grid"),
        ("bits", 0, "bits"),
        ("bits", 9, "bits"),
        ("k", 8, "k"),
        ("rows", 1 << 22, "rows"),
        ("values", b"", "values"),
        ("values", b"\x07", "values"),
    ],
)
def test_a_forged_task_of_levels_is_refused_by_field(name: str, value: object, field: str) -> None:
    codec = SoftLabelCodec(Encoding.LEVELS, bits=3, entropy=True)
    good = encode_task(task_with(random_rows(50, 8, seed=0), rows=np.arange(50)), codec=codec)
    place = "soft_targets.public_set.soft_labels"
    bad = forged(pb.RoundTask(), good, f"{place}.{name}", value)
    assert refused_field(lambda: decode_task(bad)) == f"{place}.{field}"
