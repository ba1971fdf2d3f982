"""Who agrees with what a teacher wrote: other teachers, or what counts of public text say."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from fedstill_proto.arrays import IntArray
from fedstill_proto.text.vocabulary import START
from numpy.typing import NDArray

from fedstill_server.distill.teachers.ensemble import EnsembleTeacher
from fedstill_server.tasks.text.ngrams import KneserNeyTrigrams
from fedstill_server.teachers.interface import TeacherModel

_ROWS_AT_ONCE = 64


class WordJudge(Protocol):
    """Says how likely next words are."""

    def scores(self, x: IntArray) -> NDArray[np.float32]:
        """[n, S, V] of rows [n, S]: larger for likelier words."""


class TeacherJudge:
    """Another teacher."""

    def __init__(self, teacher: TeacherModel) -> None:
        self.teacher = teacher

    def scores(self, x: IntArray) -> NDArray[np.float32]:
        return self.teacher.answer(x).logits  # type: ignore[arg-type]


class TrigramJudge:
    """Trigrams of rows [n, S] of public text, which stand one after another."""

    def __init__(self, rows: IntArray, *, words: int) -> None:
        stream = rows.reshape(-1)
        texts = [part[part != START] for part in np.split(stream, np.flatnonzero(stream == START))]
        self.trigrams = KneserNeyTrigrams(texts, words=words)

    def scores(self, x: IntArray) -> NDArray[np.float32]:
        return np.stack([self.trigrams.along(row) for row in x.tolist()])


def judges_of(teacher: TeacherModel, public: IntArray, *, words: int) -> tuple[WordJudge, ...]:
    """The teachers of an ensemble; of a single teacher, trigrams of the public rows [n, S]."""
    if isinstance(teacher, EnsembleTeacher) and len(teacher.teachers) > 1:
        return tuple(TeacherJudge(one) for one in teacher.teachers)
    return (TrigramJudge(public, words=words),)


def agreement(judge: WordJudge, words: IntArray, *, beginning: int, likely: int) -> NDArray[np.float64]:
    """Of each row [n, S + 1], the share of written words that are among the judge's likeliest; [n]."""
    shares = [np.zeros(0)]
    for start in range(0, len(words), _ROWS_AT_ONCE):
        rows = words[start : start + _ROWS_AT_ONCE]
        scores = torch.from_numpy(judge.scores(rows[:, :-1])[:, beginning - 1 :])
        best = scores.topk(min(likely, scores.shape[-1]), dim=-1).indices.numpy()
        shares.append((best == rows[:, beginning:, None]).any(-1).mean(-1))
    return np.concatenate(shares)
