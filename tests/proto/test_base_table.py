from __future__ import annotations

import numpy as np
import pytest
from fedstill_proto.codec.base_table_file import StoredTable, decode_tables, encode_tables
from fedstill_proto.errors import InvalidValue
from fedstill_proto.soft_labels.base_table import BaseTable
from fedstill_proto.soft_labels.levels import Grid, Levels
from fedstill_proto.v1 import fedstill_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.level_samples import Sample, same, samples
from tests.proto.wire_samples import forged, refused_field


def one_hot(*classes: int) -> Levels:
    """One bit a row, three classes."""
    return Levels(np.eye(3, dtype=np.uint8)[list(classes)], 3, 1, Grid.SHARES)


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def test_the_last_word_on_each_row_counts() -> None:
    table = BaseTable.of(rows(7, 2), one_hot(0, 1)).extended(rows(9, 7), one_hot(2, 2))
    assert table.rows.tolist() == [2, 7, 9]
    assert table.levels.codes.argmax(axis=1).tolist() == [1, 2, 2]


def test_rows_that_were_never_answered_are_the_fallbacks() -> None:
    table = BaseTable.of(rows(7, 2), one_hot(0, 1))
    assert table.base(rows(7, 3), None) is None
    base = table.base(rows(7, 3), one_hot(1, 2))
    assert base is not None
    assert base.codes.argmax(axis=1).tolist() == [0, 2]
    alone = table.base(rows(2, 7), None)
    assert alone is not None
    assert same(alone, one_hot(1, 0))


def test_levels_of_another_shape_start_a_new_table() -> None:
    table = BaseTable.of(rows(7, 2), one_hot(0, 1))
    finer = Levels(np.array([[1, 2, 0]], np.uint8), 3, 2, Grid.SHARES)
    assert table.extended(rows(9), finer).rows.tolist() == [9]
    assert table.base(rows(7), finer) is None


@given(samples(max_rows=8, max_classes=30), st.integers(0, 2**32 - 1))
def test_tables_survive_the_disk(sample: Sample, seed: int) -> None:
    numbers = np.random.default_rng(seed).choice(1000, sample.levels.rows, replace=False).astype(np.int64)
    held = StoredTable("0a1b2c3d", "kitchen ☕", 5, BaseTable.of(numbers, sample.levels))
    (read,) = decode_tables(encode_tables([held]))
    assert (read.run, read.device, read.round) == (held.run, held.device, held.round)
    np.testing.assert_array_equal(read.table.rows, held.table.rows)
    assert same(read.table.levels, held.table.levels)


@pytest.mark.parametrize("numbers", [[2, 1], [1, 1], [-1, 3], [1]])
def test_rows_that_do_not_increase_are_refused(numbers: list[int]) -> None:
    with pytest.raises(InvalidValue, match="rows"):
        BaseTable(rows(*numbers), one_hot(0, 1))


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("tables.0.run", "../x", "tables[0].run"),
        ("tables.0.public_rows", [2, 2], "tables[0].rows"),
        ("tables.0.public_rows", [2], "tables[0].rows"),
        ("tables.0.soft_labels.encoding", 1, "tables[0].soft_labels.encoding"),
        ("tables.0.soft_labels.classes", 0, "tables[0].soft_labels.classes"),
        ("tables.0.soft_labels.values", b"\x00", "tables[0].soft_labels.values"),
        ("protocol_version", 99, "protocol_version"),
    ],
)
def test_a_forged_file_is_refused_by_field(path: str, value: object, field: str) -> None:
    good = encode_tables([StoredTable("0a1b2c3d", "a", 5, BaseTable.of(rows(1, 2), one_hot(0, 1)))])
    bad = forged(pb.StoredTables(), good, path, value)
    assert refused_field(lambda: decode_tables(bad)) == field
