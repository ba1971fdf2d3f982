"""Texts as the rows that a student of next sub-words learns from: the same on the server and on every device.

Texts stand one after another, each behind a separator, and are cut into rows of S + 1 numbers: S that are
read, and for each the one that comes next. What is left at the end waits for more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from fedstill_proto.arrays import IntArray


def packed_rows(texts: Iterable[Sequence[int]], *, separator: int, places: int) -> tuple[IntArray, IntArray]:
    """What is read and what comes next, int64 [n, places] each.

    Args:
        texts: The sub-words of each text.
        separator: The number before each text, which is no sub-word of theirs: the tokenizer's padding.
        places: S.
    """
    stream: list[int] = []
    for text in texts:
        stream += [separator, *text]
    rows = max(0, len(stream) - 1) // places
    numbers = np.array(stream[: rows * places + 1], np.int64)
    return numbers[:-1].reshape(rows, places), numbers[1:].reshape(rows, places)
