"""A task's soft labels, coded against those of an earlier round."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fedstill_proto.arrays import FloatArray
from fedstill_proto.codec.task_codec import WholeTask, decode_task, encode_task
from fedstill_proto.codec.told_labels import ToldTables, table_told
from fedstill_proto.messages import PublicSoftLabels, RoundTask, SummaryKind, SummaryRequest
from fedstill_proto.soft_labels.base_table import BaseTable
from fedstill_proto.soft_labels.codec import SoftLabelCodec
from fedstill_proto.soft_labels.codec_spec import parse_codec
from fedstill_proto.soft_labels.entropy import MissingBase
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels
from fedstill_proto.v1 import fedstill_pb2 as pb

from tests.proto.wire_samples import FAMILY, PLAN, RUN, UINT8, forged, random_rows, refused_field

LOG = parse_codec("dense,4bit,log,entropy,delta")
CODECS = [LOG, parse_codec("topk3,4bit,entropy,delta"), parse_codec("dense,2bit,entropy,delta")]
ROWS = np.arange(100)


def task_of(labels: FloatArray, *, round: int = 2, rows: np.ndarray = ROWS) -> RoundTask:
    targets = PublicSoftLabels(rows, DenseSoftLabels(labels))
    return RoundTask(RUN, round, FAMILY, PLAN, SummaryRequest(SummaryKind.NONE), soft_targets=targets)


def moved(labels: FloatArray) -> FloatArray:
    """The labels, of which one row in ten is another one."""
    labels = labels.copy()
    labels[::10] = labels[::10, ::-1]
    return labels


def told_in(round: int, table: BaseTable | None) -> ToldTables:
    return lambda run, asked: table if (run, asked) == (RUN, round) else None


FIRST = random_rows(len(ROWS), 8, seed=0)


def table_of(labels: FloatArray, codec: SoftLabelCodec = LOG) -> BaseTable:
    table = table_told(task_of(labels).soft_targets, codec)
    assert table is not None
    return table


@pytest.mark.parametrize("codec", CODECS)
def test_against_an_earlier_round_a_task_is_shorter_and_says_the_same(codec: SoftLabelCodec) -> None:
    first, second = task_of(FIRST, round=1), task_of(moved(FIRST))
    device = table_told(decode_task(encode_task(first, codec=codec)).soft_targets)
    server = table_told(first.soft_targets, codec)
    assert device is not None
    assert server is not None
    assert device.levels.digest() == server.levels.digest()

    coded = encode_task(second, codec=codec, base_round=1, told=server)
    whole = encode_task(second, codec=codec)

    received, expected = decode_task(coded, told=told_in(1, device)), decode_task(whole)
    assert len(coded) < 0.6 * len(whole)
    assert isinstance(received.soft_targets, PublicSoftLabels)
    assert isinstance(expected.soft_targets, PublicSoftLabels)
    assert received.soft_targets.public_rows.tolist() == ROWS.tolist()
    np.testing.assert_array_equal(
        received.soft_targets.soft_labels.dense(), expected.soft_targets.soft_labels.dense()
    )
    again = WholeTask.of(coded, told=told_in(1, device))
    assert decode_task(again.blob).soft_targets is not None
    assert again.table is not None
    assert again.table.levels.digest() == table_of(moved(FIRST), codec).levels.digest()


@pytest.mark.parametrize(
    "held",
    [
        None,
        told_in(1, None),
        told_in(2, table_of(FIRST)),  # of another round
        told_in(1, table_of(moved(FIRST))),  # other labels
        told_in(1, table_of(FIRST, parse_codec("dense,3bit,log,entropy,delta"))),
        told_in(1, BaseTable.of(ROWS[:50], table_of(FIRST).levels.of_rows(ROWS[:50]))),
    ],
)
def test_whoever_does_not_hold_just_these_is_missing_the_base(held: ToldTables | None) -> None:
    blob = encode_task(task_of(moved(FIRST)), codec=LOG, base_round=1, told=table_of(FIRST))
    with pytest.raises(MissingBase, match="not held here; send it whole"):
        decode_task(blob, told=held)


def test_some_rows_in_any_order_are_coded_against_a_round_that_told_them_all() -> None:
    rows = np.array([40, 2, 7, *range(50, 90)])
    task = task_of(FIRST[rows], rows=rows)
    blob = encode_task(task, codec=LOG, base_round=1, told=table_of(FIRST))
    assert len(blob) < len(encode_task(task, codec=LOG)) - 100
    received = decode_task(blob, told=told_in(1, table_of(FIRST))).soft_targets
    assert isinstance(received, PublicSoftLabels)
    assert received.public_rows.tolist() == rows.tolist()
    np.testing.assert_array_equal(received.soft_labels.dense(), LOG.rounded(FIRST[rows]).dense())


@pytest.mark.parametrize("codec", [UINT8, replace(LOG, delta=False)])
def test_other_codecs_and_rows_that_were_not_told_travel_whole(codec: SoftLabelCodec) -> None:
    task, half = task_of(FIRST), table_of(FIRST)
    assert encode_task(task, codec=codec, base_round=1, told=half) == encode_task(task, codec=codec)
    assert table_told(task.soft_targets, codec) is None
    half = BaseTable.of(ROWS[:50], half.levels.of_rows(ROWS[:50]))
    assert encode_task(task, codec=LOG, base_round=1, told=half) == encode_task(task, codec=LOG)


def test_a_base_that_nothing_is_coded_against_is_refused() -> None:
    place = "soft_targets.public_set.base_round"
    blob = forged(pb.RoundTask(), encode_task(task_of(FIRST), codec=LOG), place, 1)
    assert refused_field(lambda: decode_task(blob, told=told_in(1, table_of(FIRST)))) == place
