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
from fedstill_server.distill.plan import check
from fedstill_server.distill.stage_runner import Recipe, StageRunner
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

    def run(self, base: DistillJob, runner: StageRunner) -> Trained:
        if base.labels.ndim < 2:
            raise DistillError(f"{self.name}: is for text; the task's examples are no rows of words")
        if base.teacher is None:
            raise DistillError(f"{self.name}: there is no teacher to write; give one with --teacher")
        given = self.beginnings(base)
        seed = derived_seed(base.plan.seed, 0, self.name)
        written = continued(base.teacher, given, places=base.x.shape[1], warmth=self.warmth, seed=seed)
        x, labels = written[:, :-1], written[:, 1:].copy()
        labels[:, : given.shape[1] - 1] = UNKNOWN
        runner.notes.append(f"{self.name}: {len(x):,d} rows written by the teacher")
        if self.mixed:
            x, labels = np.concatenate([base.x, x]), np.concatenate([base.labels, labels])
        return runner.train("student", replace(base, x=x, labels=labels, answers=None))  # type: ignore[arg-type]

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
    random = torch.Generator().manual_seed(seed)
    written = np.full((len(given), places + 1), START, np.int64)
    written[:, : given.shape[1]] = given
    for start in range(0, len(written), _ROWS_AT_ONCE):
        rows = written[start : start + _ROWS_AT_ONCE]
        for place in range(given.shape[1], places + 1):
            # Whole rows, since a teacher may know one length only; what stands behind a place is not seen.
            answers = teacher.answer(rows[:, :-1])  # type: ignore[arg-type]
            logits = torch.from_numpy(answers.logits[:, place - 1])
            if warmth:
                chances = torch.softmax(logits / warmth, dim=-1)
                rows[:, place] = torch.multinomial(chances, 1, generator=random)[:, 0].numpy()
            else:
                rows[:, place] = logits.argmax(dim=-1).numpy()
    return written
