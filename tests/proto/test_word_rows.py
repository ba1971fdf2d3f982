"""Encoded texts as rows: START before each, rows of S and the next word, what is left waits."""

from __future__ import annotations

import numpy as np
from fedstill_proto.text.token_rows import word_rows
from fedstill_proto.text.vocabulary import START


def test_texts_stand_one_behind_another() -> None:
    rows = word_rows([[5, 6], [7, 8, 9]], places=3)
    # 1 5 6 1 7 8 9: two rows of three would need seven words and the next; these are seven.
    assert rows.x.tolist() == [[START, 5, 6], [START, 7, 8]]
    assert rows.y.tolist() == [[5, 6, START], [7, 8, 9]]
    assert rows.text.tolist() == [0, 1]


def test_what_is_left_is_no_row() -> None:
    assert word_rows([[5, 6]], places=3).x.shape == (0, 3)
    assert word_rows([], places=3).y.shape == (0, 3)
    assert word_rows([[5, 6, 7]], places=3).x.tolist() == [[START, 5, 6]]


def test_a_long_text_begins_several_rows() -> None:
    rows = word_rows([list(range(2, 11))], places=2)
    assert np.array_equal(rows.text, [0, 0, 0, 0])
    assert np.array_equal(rows.x[1:].reshape(-1)[1:], rows.y.reshape(-1)[2:-1])
