"""Which codes of the fleet's soft labels are told anew."""

from __future__ import annotations

import numpy as np
import pytest
from fedstill_proto.arrays import FloatArray
from fedstill_proto.soft_labels.codec_spec import parse_codec
from fedstill_proto.soft_labels.levels import Levels
from fedstill_server.methods.told_levels import kept_codes, told_levels
from hypothesis import given
from hypothesis import strategies as st

CODEC = parse_codec("dense,4bit,log,entropy,delta")


def random_rows() -> FloatArray:
    return np.random.default_rng(0).dirichlet(np.full(5, 0.3), 500).astype(np.float32)


def divergence(labels: FloatArray, levels: Levels) -> np.ndarray:
    """KL(labels || what the codes stand for) of each row, in nats."""
    told = levels.soft_labels().dense().astype(np.float64)
    shares = labels.astype(np.float64)
    return (shares * (np.log(np.maximum(shares, 1e-30)) - np.log(told))).sum(axis=1)


def test_a_rare_class_may_lag_behind_and_a_likely_one_may_not() -> None:
    labels = np.array([[0.9, 0.09, 0.01], [0.5, 0.3, 0.2]], np.float32)
    nearest = CODEC.levels(labels)
    assert nearest.codes.tolist() == [[0, 6, 11], [0, 1, 2]]
    before = Levels(np.array([[0, 6, 12], [0, 3, 2]], np.uint8), 3, 4, nearest.grid)
    told = kept_codes(nearest, before, labels, tolerance=0.03)
    assert told.codes.tolist() == [[0, 6, 12], [0, 1, 2]]


def test_what_is_not_worth_a_code_is_not_told_and_everything_is_where_nothing_is_borne() -> None:
    labels = np.full((1, 4), 0.25, np.float32)
    nearest = CODEC.levels(labels)
    before = Levels(np.array([[0, 1, 1, 1]], np.uint8), 4, 4, nearest.grid)
    assert kept_codes(nearest, before, labels, tolerance=4.0).codes.tolist() == before.codes.tolist()
    assert kept_codes(nearest, before, labels, tolerance=1e-6).codes.tolist() == nearest.codes.tolist()


def test_labels_that_still_move_far_are_told_on_a_coarser_grid() -> None:
    labels = random_rows()
    before = CODEC.levels(np.full_like(labels, 1 / labels.shape[1]))
    nearest = CODEC.levels(labels).codes.astype(int)
    settled, moving, far = (
        told_levels(labels, before, CODEC, move=move, tolerance=1e-9).codes for move in (0.1, 0.15, 10.0)
    )
    assert (settled == nearest).mean() > 0.98  # a step is .42, and five moves .5; some old codes fit better
    assert set(np.unique(moving)) == set(range(0, 15, 2))
    assert (np.abs(moving - nearest) <= 1).mean() > 0.98
    assert set(np.unique(far)) == {0, 4, 8, 12}
    assert told_levels(labels, before, CODEC, move=10.0, tolerance=0).codes.tolist() == nearest.tolist()


@pytest.mark.parametrize("tolerance", [0.005, 0.5])
@given(st.integers(0, 2**31))
def test_a_row_errs_by_no_more_than_its_old_codes_may_add(tolerance: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, earlier = (rng.dirichlet(np.full(5, 0.3), 20).astype(np.float32) for _ in range(2))
    nearest, before = CODEC.levels(labels), CODEC.levels(earlier)
    told = kept_codes(nearest, before, labels, tolerance=tolerance)
    old = told.codes != nearest.codes
    assert (told.codes[old] == before.codes[old]).all()
    added = divergence(labels, told) - divergence(labels, nearest)
    assert (added <= old.sum(axis=1) * tolerance / 5 + 1e-6).all()
