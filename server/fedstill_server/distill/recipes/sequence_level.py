"""Sequence-level distillation of language models (Kim and Rush 2016, arXiv 1606.07947), and text that a
teacher generates.

A student that learns the teacher's next words one by one is conditioned on real text; at sequence level it
learns whole continuations that the teacher itself has chosen:

    - log p_student( y | beginning )        y ~ teacher, greedily or sampled

where the paper searches y with a beam. The teacher is given the first `beginning` words of each row of public
text and predicts the others; its predictions are the labels, and the words that it was given have none. With
a technique beside it, such as kd, the teacher's soft labels come from its own words. `mixed` keeps the public
rows, too.

synthetic-text begins with nothing but the start of a text: a server without any public text can distil.

Of what is written, rows can be left out (synthetic/text_filter.py): those whose perplexity the teacher itself
finds odd, those that were there before, and those that others do not agree with.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from fedstill_proto.arrays import IntArray
from fedstill_proto.text.vocabulary import START

from fedstill_server.config.options import option
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.job import UNKNOWN, DistillJob, Trained
from fedstill_server.distill.on_policy.next_words import next_words_of_teacher
from fedstill_server.distill.on_policy.sampling import written_rows
from fedstill_server.distill.plan import check
from fedstill_server.distill.stage_runner import Recipe, StageRunner
from fedstill_server.distill.synthetic.text_filter import TextFilter
from fedstill_server.distill.synthetic.text_judges import judges_of
from fedstill_server.randomness import derived_seed
from fedstill_server.teachers.interface import TeacherModel

_ROWS_AT_ONCE = 64


class SequenceLevel(Recipe):
    name: ClassVar[str] = "sequence-level"
    source: ClassVar[str] = "Kim and Rush 2016, arXiv 1606.07947"
    line: ClassVar[str] = "of text: the teacher's own continuations are what the student learns"

    beginning: int = option(4, "Words of a row that the teacher is given.", least=1)
    warmth: float = option(0.0, "Temperature of sampling; 0: the likeliest word.", least=0, most=10)
    mixed: bool = option(False, "Whether the public rows are learned, too.")
    least_perplexity: float = option(0.0, "Rows that the teacher finds likelier are dropped.", least=0)
    most_perplexity: float = option(
        0.0, "Rows that the teacher finds less likely are dropped; 0: none.", least=0
    )
    unique: bool = option(False, "Whether rows that are public, or were written before, are dropped.")
    nearness: float = option(
        0.0, "Rows that share so much with one before are dropped; 0: none.", least=0, most=1
    )
    agreement: float = option(
        0.0, "Share of words that other teachers, or trigrams, have to find likely.", least=0, most=1
    )
    likely_words: int = option(20, "How many words these find likely at a place.", least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.filter()

    def run(self, base: DistillJob, runner: StageRunner) -> Trained:
        if base.labels.ndim < 2:
            raise DistillError(f"{self.name}: is for text; the task's examples are no rows of words")
        if base.teacher is None:
            raise DistillError(f"{self.name}: there is no teacher to write; give one with --teacher")
        given = self.beginnings(base)
        seed = derived_seed(base.plan.seed, 0, self.name)
        written = continued(base.teacher, given, places=base.x.shape[1], warmth=self.warmth, seed=seed)
        written = self._filtered(base, written, given.shape[1], runner)
        x, labels = written[:, :-1], written[:, 1:].copy()
        labels[:, : given.shape[1] - 1] = UNKNOWN
        if self.mixed:
            x, labels = np.concatenate([base.x, x]), np.concatenate([base.labels, labels])
        return runner.train("student", replace(base, x=x, labels=labels, answers=None))  # type: ignore[arg-type]

    def filter(self) -> TextFilter:
        """What written rows have to be."""
        return TextFilter(
            least_perplexity=self.least_perplexity,
            most_perplexity=self.most_perplexity,
            unique=self.unique,
            nearness=self.nearness,
            agreement=self.agreement,
            likely_words=self.likely_words,
        )

    def _filtered(self, base: DistillJob, written: IntArray, beginning: int, runner: StageRunner) -> IntArray:
        """The rows that pass; a note says how many did not, and why."""
        runner.notes.append(f"{self.name}: {len(written):,d} rows written by the teacher")
        wanted = self.filter()
        if wanted.asks_nothing or base.teacher is None:
            return written
        public = np.ascontiguousarray(base.x, np.int64)
        judges = judges_of(base.teacher, public, words=base.classes) if wanted.agreement else ()
        known = np.concatenate([public, base.labels[:, -1:]], axis=1)
        found = wanted.of(written, beginning=beginning, teacher=base.teacher, known=known, judges=judges)
        runner.notes.append(f"{self.name}: {found}")
        if not found.kept.any():
            raise DistillError(
                f"{self.name}: nothing that the teacher wrote passes ({found}); ask less of its rows"
            )
        return written[found.kept]

    def beginnings(self, base: DistillJob) -> IntArray:
        """The words [n, b] that the teacher continues."""
        places = base.x.shape[1]
        check(self.beginning < places, f"{self.name}.beginning", self.beginning, f"below a row's {places}")
        return np.ascontiguousarray(base.x[:, : self.beginning], np.int64)


class SyntheticText(SequenceLevel):
    name: ClassVar[str] = "synthetic-text"
    source: ClassVar[str] = "Kim and Rush 2016, arXiv 1606.07947, with nothing given"
    line: ClassVar[str] = "no data, of text: rows that the teacher makes up from nothing"

    warmth: float = 1.0
    count: int = option(2000, "Rows that are made.", least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.warmth > 0, "warmth", self.warmth, "above 0: greedily all rows are one")
        check(not self.mixed, "mixed", self.mixed, "false: sequence-level learns both")

    def beginnings(self, base: DistillJob) -> IntArray:
        return np.full((self.count, 1), START, np.int64)


def continued(teacher: TeacherModel, given: IntArray, *, places: int, warmth: float, seed: int) -> IntArray:
    """Rows of words that the teacher continues.

    Args:
        teacher: Predicts the next word.
        given: The words that each row begins with [n, b].
        places: Words of a row, less one.
        warmth: The temperature of sampling; 0 takes the likeliest word.
        seed: Of the sampling.

    Returns:
        Words int64 [n, places + 1].
    """
    random, voices = (
        torch.Generator().manual_seed(seed),
        [(1.0, next_words_of_teacher(teacher, places=places))],
    )
    parts = [
        written_rows(voices, torch.from_numpy(rows), places=places, warmth=warmth, random=random)
        for rows in np.split(given, range(_ROWS_AT_ONCE, len(given), _ROWS_AT_ONCE))
    ]
    written: IntArray = torch.cat(parts).numpy()
    return written
