"""Public rows that are mixed of others: where they lie, and that everybody makes the same."""

from __future__ import annotations

import numpy as np
from fedstill_proto.mixed_rows import rows_with_mixed

PUBLIC = np.random.default_rng(0).normal(3, 1, (50, 2, 3)).astype(np.float32)


def test_the_rows_of_the_set_are_its_own() -> None:
    np.testing.assert_array_equal(rows_with_mixed(PUBLIC, np.array([7, 0])), PUBLIC[[7, 0]])


def test_a_row_is_the_same_whatever_else_is_asked() -> None:
    together = rows_with_mixed(PUBLIC, np.arange(90))
    np.testing.assert_array_equal(together[:50], PUBLIC)
    np.testing.assert_array_equal(rows_with_mixed(PUBLIC, np.array([3, 77, 50])), together[[3, 77, 50]])


def test_rows_of_one_example_are_that_example() -> None:
    np.testing.assert_array_equal(rows_with_mixed(PUBLIC[:1], np.arange(4)), PUBLIC[[0, 0, 0, 0]])


def test_mixed_rows_have_the_mean_of_the_set_and_twice_its_covariance() -> None:
    made = rows_with_mixed(PUBLIC, np.arange(50, 20_050)).reshape(20_000, 6)
    own = PUBLIC.reshape(50, 6)
    np.testing.assert_allclose(made.mean(axis=0), own.mean(axis=0), atol=0.05)
    np.testing.assert_allclose(np.cov(made.T), 2 * np.cov(own.T, bias=True), atol=0.1)


def test_mixed_rows_stay_on_the_line_that_all_rows_lie_on() -> None:
    line = np.linspace(0, 1, 20, dtype=np.float32)[:, None] * np.array([1, 2], np.float32)
    made = rows_with_mixed(line, np.arange(20, 60))
    np.testing.assert_allclose(made[:, 1], 2 * made[:, 0], atol=1e-5)
    assert made[:, 0].max() > 1  # beyond the set, too
