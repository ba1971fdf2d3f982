"""Neighbours found by products of matrices are those of all distances, and their means the same bits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fedstill_server.consensus.folds.mixing import distances, nearest
from fedstill_server.consensus.folds.nearest import mixed, raised


def term_by_term(answers: np.ndarray, share: float) -> np.ndarray:
    """What `mixed` says it is, written down plainly."""
    long = raised(answers)
    apart = np.stack([distances(long, one) for one in long])
    np.fill_diagonal(apart, -1)
    order = np.argsort(apart, axis=1, kind="stable")[:, : math.ceil((1 - share) * len(answers))]
    said = ~np.isnan(answers)
    values = np.where(said, answers, 0)
    sums = np.stack([values[of].sum(axis=0) for of in order])
    counts = np.stack([said[of].sum(axis=0) for of in order])
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def drawn(kind: str, rng: np.random.Generator) -> np.ndarray:
    n, m, classes = rng.integers(1, 40), rng.integers(1, 12), rng.integers(2, 6)
    answers = rng.normal(size=(n, m, classes))
    if kind == "ties":
        answers = np.round(answers) * rng.choice([1.0, -0.0], (n, 1, classes))
    elif kind == "copies":
        answers[: n // 2] = answers[0]
    elif kind == "far apart":
        answers *= 10.0 ** rng.integers(-8, 8, (n, 1, 1))
    elif kind == "almost the same":
        answers = 1 + answers * 1e-13
    if kind == "gaps" or (kind == "ties" and rng.random() < 0.5):
        answers[rng.random((n, m)) < 0.4] = np.nan
    return answers


@pytest.mark.parametrize("kind", ["usual", "ties", "copies", "far apart", "almost the same", "gaps"])
def test_means_of_neighbours_are_the_same_bits(kind: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        answers = drawn(kind, rng)
        for share in (0.2, 0.3):
            assert mixed(answers, share=share).tobytes() == term_by_term(answers, share).tobytes()


def test_neighbours_of_a_round_as_large_as_it_gets() -> None:
    answers = np.random.default_rng(1).normal(size=(512, 30, 4))
    answers[100:140] = answers[7]
    order = nearest(answers)
    apart = np.stack([distances(answers, one) for one in answers])
    np.fill_diagonal(apart, -1)
    assert (order == np.argsort(apart, axis=1, kind="stable")).all()


def test_who_shares_no_row_is_furthest_and_the_first_of_equals_comes_first() -> None:
    answers = np.array([[[0.0], [np.nan]], [[np.nan], [5.0]], [[3.0], [np.nan]], [[-3.0], [np.nan]]])
    assert nearest(answers).tolist() == [[0, 2, 3, 1], [1, 0, 2, 3], [2, 0, 3, 1], [3, 0, 2, 1]]


def test_answers_that_are_not_finite_are_compared_term_by_term() -> None:
    answers = np.array([[[0.0]], [[1e200]], [[1.0]], [[2e200]]])
    with np.errstate(over="ignore", invalid="ignore"):
        assert nearest(answers)[0].tolist() == [0, 2, 1, 3]
