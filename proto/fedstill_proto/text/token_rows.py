"""Texts as the rows of words that a student of text learns from: the same on the server and on every device.

Texts stand one after another, each behind a START, and are cut into rows of S + 1 words: S inputs, and for
each the word that comes next. What is left at the end waits for more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from fedstill_proto.arrays import IntArray
from fedstill_proto.text.vocabulary import START


class WordRows(NamedTuple):
    """Inputs and the words that come next, [n, S] each, and the text that each row begins in, [n]."""

    x: IntArray
    y: IntArray
    text: IntArray


def word_rows(texts: Iterable[Sequence[int]], *, places: int) -> WordRows:
    """The rows of encoded texts; `places` is S."""
    stream: list[int] = []
    text_of: list[int] = []  # by word of the stream
    for number, text in enumerate(texts):
        stream += [START, *text]
        text_of += [number] * (1 + len(text))
    rows = max(0, len(stream) - 1) // places
    words = np.array(stream[: rows * places + 1], np.int64)
    begins_in = np.array(text_of, np.int64)[: rows * places : places]
    return WordRows(words[:-1].reshape(rows, places), words[1:].reshape(rows, places), begins_in)
