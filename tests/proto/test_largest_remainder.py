from __future__ import annotations

import numpy as np
from fedstill_proto.arrays import FloatArray
from fedstill_proto.soft_labels.largest_remainder import SHARES, dequantize, quantize
from hypothesis import given

from tests.proto.wire_samples import distributions, random_rows


def test_whole_shares_stay_as_they_are() -> None:
    codes = np.array([[255, 0, 0], [51, 102, 102], [1, 1, 253]], np.uint8)
    np.testing.assert_array_equal(quantize(dequantize(codes)), codes)


def test_left_over_shares_go_to_the_largest_fractions() -> None:
    # 255 * (0.1, 0.3, 0.6) = (25.5, 76.5, 153): one share is left, and the first of two equals wins it.
    np.testing.assert_array_equal(quantize(np.array([[0.1, 0.3, 0.6]])), [[26, 76, 153]])
    # 255/2 = 127.5 each.
    np.testing.assert_array_equal(quantize(np.array([[0.5, 0.5]], np.float32)), [[128, 127]])


def test_more_classes_than_shares() -> None:
    codes = quantize(np.full((1, 1000), 1e-3, np.float32))
    assert codes.sum() == SHARES
    assert codes.max() == 1


def test_a_probability_of_zero_gets_nothing() -> None:
    probabilities = random_rows(200, 10, seed=0)
    probabilities[:, 3:] = 0
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    assert not quantize(probabilities)[:, 3:].any()


def test_rows_are_normalized_first() -> None:
    np.testing.assert_array_equal(quantize(np.array([[0.4, 0.4]], np.float32)), [[128, 127]])


@given(distributions(max_classes=600))
def test_codes_add_up_and_err_by_less_than_a_share(probabilities: FloatArray) -> None:
    codes = quantize(probabilities)
    assert (codes.sum(axis=1, dtype=int) == SHARES).all()
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    assert (np.abs(codes - SHARES * exact) < 1).all()
