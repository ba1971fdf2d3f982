"""The beginnings of a sorted word list, by length, as arrays: a tree that numpy walks down level by level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import IntArray

MOST_DEPTH = 40  # letters; those of longer words beyond it are no part of the tree

Starts = npt.NDArray[np.int32]
Letters = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Level:
    """The different beginnings of one length, in the alphabet's order.

    Args:
        start: The first word of each in the sorted list [n].
        stop: The place behind its last word [n].
        letter: The code of its last letter [n].
        is_double: Whether the letter before is the same [n].
        first_child: Where those begin with it that are a letter longer, at the next level [n].
        children: How many they are [n].
    """

    start: Starts
    stop: Starts
    letter: Letters
    is_double: npt.NDArray[np.bool_]
    first_child: Starts
    children: Starts


class PrefixTree:
    """The beginnings of words.

    Args:
        words: Different words in the alphabet's order (that of code points).
    """

    def __init__(self, words: Sequence[str]) -> None:
        depth = min(MOST_DEPTH, max(map(len, words), default=0))
        points = _code_points(words, depth)  # [words, depth]
        self.alphabet = "".join(sorted({"\0"}.union(*words)))  # of code 0 on; "\0" is behind a word's end
        code_of = np.zeros(ord(self.alphabet[-1]) + 1, np.int16)
        code_of[[ord(letter) for letter in self.alphabet]] = np.arange(len(self.alphabet))
        codes = code_of[points]
        common = _common_with_previous(points)
        lengths = (points != 0).sum(axis=1)
        starts = [np.flatnonzero((lengths >= d) & (common < d)) for d in range(1, depth + 1)]
        self.words = len(words)
        self.levels: list[Level] = []
        stops = [_ends(common, d, starts[d - 1]) for d in range(1, depth + 1)]
        for d in range(1, depth + 1):
            start, stop = starts[d - 1], stops[d - 1]
            deeper = starts[d] if d < depth else np.zeros(0, np.int64)
            first_child = np.searchsorted(deeper, start)
            letter = codes[start, d - 1]
            self.levels.append(
                Level(
                    start=start.astype(np.int32),
                    stop=stop.astype(np.int32),
                    letter=letter,
                    is_double=letter == codes[start, d - 2] if d > 1 else np.zeros(len(start), bool),
                    first_child=first_child.astype(np.int32),
                    children=(np.searchsorted(deeper, stop) - first_child).astype(np.int32),
                )
            )


def ranges(first: IntArray, counts: IntArray) -> IntArray:
    """first[0], ..., first[0] + counts[0] - 1, first[1], ..., one behind the other [sum of counts]."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(first - ends + counts, counts)


def _code_points(words: Sequence[str], depth: int) -> npt.NDArray[np.uint32]:
    if not depth:
        return np.zeros((len(words), 0), np.uint32)
    return np.array(words, f"<U{depth}").view("<u4").reshape(len(words), depth)


def _common_with_previous(points: npt.NDArray[np.uint32]) -> IntArray:
    """How many letters each word begins with as the one before it does [words]; none for the first."""
    same = np.logical_and.accumulate(points[1:] == points[:-1], axis=1)
    common = (same & (points[1:] != 0)).sum(axis=1)
    return np.concatenate([np.zeros(min(1, len(points)), np.int64), common])


def _ends(common: IntArray, depth: int, starts: IntArray) -> IntArray:
    """Where the words end that begin as those at `starts` do, with `depth` letters."""
    bounds = np.append(np.flatnonzero(common < depth), len(common))
    return bounds[np.searchsorted(bounds, starts, side="right")]
