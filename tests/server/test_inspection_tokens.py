"""What is said of next tokens, by hand: perplexity, suggestions, calibration by token, and slices."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fedstill_server.calibration import calibration
from fedstill_server.inspection.tokens import (
    fitting_tokens,
    slices_of_tokens,
    text_figures,
    token_answers,
)

# Five tokens; the logits of a place hang on the token in it. Token 4 is a mark, 1 to 3 are words.
LOGITS = np.log(
    np.array(
        [
            [0.1, 0.4, 0.3, 0.15, 0.05],
            [0.05, 0.1, 0.2, 0.25, 0.4],
            [0.2, 0.2, 0.2, 0.2, 0.2],
            [0.6, 0.1, 0.1, 0.1, 0.1],
            [0.1, 0.1, 0.1, 0.1, 0.6],
        ],
        np.float32,
    )
)
WORDS = np.array([1, 2, 3])


def answer(x: np.ndarray) -> np.ndarray:
    return LOGITS[x]


def test_perplexity_and_suggestions_by_hand() -> None:
    x = np.array([[0, 0, 1, 1]])
    y = np.array([[1, 3, 3, 4]])  # first; third; second behind the mark, but the first word; first

    asked = token_answers(answer, x, y, words=WORDS)
    figures = text_figures(asked, {}, rows=1, of_rows=1, words=WORDS)

    assert asked.rank.tolist() == [0, 2, 1, 0]
    assert asked.word_rank.tolist()[:3] == [0, 2, 0]
    assert (figures.top1, figures.top3) == (0.5, 1.0)
    assert (figures.words, figures.word_top1, figures.word_top3) == (3, pytest.approx(2 / 3), 1.0)
    assert figures.perplexity == pytest.approx(math.prod([0.4, 0.15, 0.25, 0.4]) ** -0.25, rel=1e-5)


def test_calibration_by_token_is_that_of_so_many_examples() -> None:
    random = np.random.default_rng(0)
    x, y = random.integers(0, 5, (30, 4)), random.integers(0, 5, (30, 4))
    for temperature in (1.1, 2.5):  # no probability is on the edge of a bin
        by_token = token_answers(answer, x, y, temperature=temperature).calibration()
        flat = calibration(LOGITS[x].reshape(-1, 5), y.reshape(-1), temperature=temperature)
        for name in ("accuracy", "ece", "brier", "negative_log_likelihood"):
            assert getattr(by_token, name) == pytest.approx(getattr(flat, name), rel=1e-5, abs=1e-6), name


def test_a_place_without_a_token_counts_nothing() -> None:
    x, y = np.array([[0, 1], [2, 3]]), np.array([[1, -1], [-1, 0]])
    asked = token_answers(answer, x, y)
    assert asked.labels.tolist() == [1, 0]
    assert asked.calibration().accuracy == 1.0
    logits, labels = fitting_tokens(answer, x, y)
    assert logits.shape == (2, 5)
    assert labels.tolist() == [1, 0]


def test_slices_are_of_kind_and_frequency_and_place() -> None:
    y = np.array([[0, 1, 2, 3], [3, 3, -1, 0]])
    public = np.array([[3, 3, 3, 1, 1, 0]])
    slices = slices_of_tokens(y, public, classes=5, kinds={"words": [1, 2, 3]})
    # Of seven tokens that are there, row by row: 0 1 2 3 3 3 0.
    assert slices["kind: words"].tolist() == [False, True, True, True, True, True, False]
    assert slices["the 10 commonest"].all()
    assert slices["place: first quarter of a row"].tolist() == [True, False, False, False, True, False, False]
    many = slices_of_tokens(y, public, classes=5000, kinds={})
    assert list(many)[:4] == [
        "the 10 commonest",
        "commonest 11 to 100",
        "commonest 101 to 1000",
        "commonest 1001 to 5000",
    ]
