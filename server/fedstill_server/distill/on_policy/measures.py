"""How rows that somebody wrote read: to a teacher, and by how often they say the same."""

from __future__ import annotations

import math

import numpy as np
import torch
from fedstill_proto.arrays import IntArray
from numpy.typing import NDArray

from fedstill_server.teachers.interface import TeacherModel

_ROWS_AT_ONCE = 64


def surprise(teacher: TeacherModel, words: IntArray, *, beginning: int) -> NDArray[np.float64]:
    """-log p of each word that was written, under a teacher.

    Args:
        teacher: Says next words.
        words: Rows [n, S + 1].
        beginning: How many words of a row were given.

    Returns:
        [n, S + 1 - beginning], in nats.
    """
    parts = []
    for start in range(0, len(words), _ROWS_AT_ONCE):
        rows = words[start : start + _ROWS_AT_ONCE]
        logits = torch.from_numpy(teacher.answer(rows[:, :-1]).logits[:, beginning - 1 :])  # type: ignore[arg-type]
        said = torch.from_numpy(rows[:, beginning:]).unsqueeze(-1)
        parts.append(-torch.log_softmax(logits.double(), -1).gather(-1, said).squeeze(-1).numpy())
    return np.concatenate(parts)


def perplexity_of(teacher: TeacherModel, words: IntArray, *, beginning: int) -> float:
    """The perplexity of all words that were written, under a teacher; see `surprise`."""
    return math.exp(surprise(teacher, words, beginning=beginning).mean())


def distinct(words: IntArray, *, length: int) -> float:
    """Of all runs of so many words in rows [n, S], the share that are different ones (Li et al. 2016, arXiv
    1510.03055).
    """
    runs = _runs(words, length).reshape(-1, length)
    return len(np.unique(runs, axis=0)) / len(runs)


def self_repetition(words: IntArray, *, length: int) -> float:
    """Of all runs of so many words in rows [n, S], the share that their own row has had before."""
    runs = _runs(words, length)
    repeated = sum(len(row) - len(np.unique(row, axis=0)) for row in runs)
    return float(repeated / (runs.shape[0] * runs.shape[1]))


def _runs(words: IntArray, length: int) -> IntArray:
    """[n, S - length + 1, length]."""
    return np.lib.stride_tricks.sliding_window_view(words, length, axis=1)
