from __future__ import annotations

import math

import numpy as np
import pytest
from fedstill_proto.arrays import FloatArray
from fedstill_proto.errors import InvalidValue
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels, TopKSoftLabels
from fedstill_proto.soft_labels.levels import LOG_RANGE, Grid, Levels, quantized
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.level_samples import Sample, samples
from tests.proto.wire_samples import distributions

ROW = np.array([[0.5, 0.3, 0.15, 0.05]], np.float32)


def codes(row: FloatArray, *, bits: int, grid: Grid = Grid.SHARES, k: int = 0) -> list[int]:
    levels = quantized(DenseSoftLabels(row), k=k, bits=bits, grid=grid)
    return [int(code) for code in levels.codes[0]]


def normalized(probabilities: FloatArray) -> np.ndarray:
    exact = probabilities.astype(np.float64)
    return exact / exact.sum(axis=1, keepdims=True)


def test_one_bit_is_the_likeliest_class() -> None:
    assert codes(ROW, bits=1) == [1, 0, 0, 0]
    assert codes(np.array([[0.3, 0.3, 0.4]], np.float32), bits=1) == [0, 0, 1]


def test_three_shares_go_where_they_fit_best() -> None:
    # 1.5, 0.9, 0.45 and 0.15 shares: one is whole, the other two go to the fractions .9 and .5.
    assert codes(ROW, bits=2) == [2, 1, 0, 0]


def test_steps_of_the_logarithm_count_from_the_likeliest() -> None:
    # log(0.5 / p) is 0, 0.51, 1.20 and 2.30; a step of 4 bits is 6.23 / 15 = 0.416.
    assert codes(ROW, bits=4, grid=Grid.LOG) == [0, 1, 3, 6]


def test_the_rest_is_one_more_bucket() -> None:
    levels = quantized(DenseSoftLabels(ROW), k=2, bits=2, grid=Grid.SHARES)
    assert levels.indices is not None
    assert levels.indices.tolist() == [[0, 1]]
    assert levels.codes.tolist() == [[1, 1, 1]]  # 1.5, 0.9 and 0.6 shares
    labels = levels.soft_labels()
    assert isinstance(labels, TopKSoftLabels)
    np.testing.assert_allclose(labels.dense(), [[1 / 3, 1 / 3, 1 / 6, 1 / 6]], atol=1e-6)


def test_a_k_of_all_classes_keeps_them_without_a_rest() -> None:
    assert quantized(DenseSoftLabels(ROW), k=4, bits=2, grid=Grid.SHARES).indices is None


@given(distributions(max_classes=300), st.integers(1, 8))
def test_a_share_errs_by_less_than_one(probabilities: FloatArray, bits: int) -> None:
    levels = quantized(DenseSoftLabels(probabilities), k=0, bits=bits, grid=Grid.SHARES)
    error = np.abs(levels.soft_labels().dense() - normalized(probabilities))
    assert (error < 1 / levels.top + 1e-6).all()


@given(distributions(max_classes=12), st.integers(1, 3))
def test_no_row_of_shares_is_nearer(probabilities: FloatArray, bits: int) -> None:
    levels = quantized(DenseSoftLabels(probabilities), k=0, bits=bits, grid=Grid.SHARES)
    exact = normalized(probabilities) * levels.top
    away = np.abs(levels.codes - exact).sum(axis=1)
    for giver in range(levels.classes):
        for taker in range(levels.classes):
            moved = levels.codes.astype(np.int64)
            has = moved[:, giver] > 0
            moved[has, giver] -= 1
            moved[has, taker] += 1
            assert (np.abs(moved - exact).sum(axis=1) >= away - 1e-4).all()


@given(distributions(max_classes=300), st.integers(1, 8))
def test_a_logarithm_errs_by_half_a_step(probabilities: FloatArray, bits: int) -> None:
    levels = quantized(DenseSoftLabels(probabilities), k=0, bits=bits, grid=Grid.LOG)
    if not len(probabilities):
        return
    step = LOG_RANGE / levels.top

    def below(rows: np.ndarray) -> np.ndarray:
        logs = np.log(np.maximum(rows.astype(np.float64), math.exp(-2 * LOG_RANGE)))
        return np.minimum(logs.max(axis=1, keepdims=True) - logs, LOG_RANGE)

    assert (np.abs(below(levels.soft_labels().dense()) - below(probabilities)) <= step / 2 + 1e-4).all()


@given(samples())
def test_what_is_on_the_grid_stays_there(sample: Sample) -> None:
    levels = sample.levels
    again = quantized(levels.soft_labels(), k=levels.k, bits=levels.bits, grid=levels.grid)
    np.testing.assert_array_equal(again.codes, levels.codes)
    np.testing.assert_allclose(levels.soft_labels().dense().sum(axis=1), 1, atol=1e-5)


@given(samples(max_classes=20))
def test_a_digest_names_all_of_the_content(sample: Sample) -> None:
    levels = sample.levels
    copy = Levels(levels.codes.copy(), levels.classes, levels.bits, levels.grid, levels.indices)
    assert copy.digest() == levels.digest()
    one_row_less = Levels(
        levels.codes[1:],
        levels.classes,
        levels.bits,
        levels.grid,
        None if levels.indices is None else levels.indices[1:],
    )
    assert (one_row_less.digest() == levels.digest()) == (levels.rows == 0)


@pytest.mark.parametrize(
    ("codes", "grid", "field"),
    [
        ([[1, 1, 2]], Grid.SHARES, "codes"),  # 4 of 3 shares
        ([[1, 1, 0]], Grid.SHARES, "codes"),
        ([[0, 4, 0]], Grid.LOG, "codes"),  # above 2 bits
        ([[1, 1, 2]], Grid.LOG, "codes"),  # no likeliest
        ([[3, 0]], Grid.SHARES, "codes"),  # two buckets for three classes
    ],
)
def test_codes_off_the_grid_are_refused(codes: list[list[int]], grid: Grid, field: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        Levels(np.array(codes, np.uint8), 3, 2, grid)
    assert caught.value.field == field
