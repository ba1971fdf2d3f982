"""Techniques that have the student write rows, and the teacher say what it would have said there.

What a student learns on real rows it uses behind words of its own: one wrong word, and it is where it was
never taught (Agarwal et al. 2024, arXiv 2306.13649). Such a technique takes, for a share of the batches, the
first words of the batch's rows, lets the student go on by itself, and compares both at the words that it
wrote; the drawing itself has no gradient. The labels' loss, and other techniques, see the real rows all the
same. Before `warm_up` all batches are real: the papers begin with a student that was trained before.

Each step's draws follow from the plan's seed and the step's number, so that a run that was killed draws them
again.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedstill_server.config.options import option
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.layers import LOGITS
from fedstill_server.distill.on_policy.next_words import next_words_of, next_words_of_teacher
from fedstill_server.distill.on_policy.sampling import answering, written_rows
from fedstill_server.distill.plan import check
from fedstill_server.distill.technique import Setting, Step, Technique, Term
from fedstill_server.randomness import derived_seed


class OnPolicyTechnique(Technique):
    """The base of techniques whose rows the student writes."""

    share: float = option(0.5, "Share of the batches whose rows the student writes.", least=0, most=1)
    warm_up: float = option(0.3, "Share of the training before that, on real rows alone.", least=0, most=1)
    beginning: int = option(4, "Words of a row that the student is given.", least=1)
    warmth: float = option(1.0, "Temperature at which the student draws its words.", above=0, most=10)


@dataclass(frozen=True, eq=False, kw_only=True)
class OwnRows:
    """Rows that a student wrote.

    Attributes:
        x: int64 [n, S].
        words: The words that follow each place, int64 [n, S].
        written: Which of these the student wrote, and was not given, bool [n, S].
    """

    x: Tensor
    words: Tensor
    written: Tensor

    @classmethod
    def of(cls, words: Tensor, *, beginning: int) -> OwnRows:
        """Of words [n, S + 1], the first `beginning` of which were given."""
        written = torch.ones_like(words[:, 1:], dtype=torch.bool)
        written[:, : beginning - 1] = False
        return cls(x=words[:, :-1], words=words[:, 1:], written=written)


class OnPolicyTerm(Term):
    """The base of their terms: a subclass says what a batch loses, on real rows and on its own."""

    def __init__(self, technique: OnPolicyTechnique, setting: Setting, *, mix: float = 0.0) -> None:
        """`mix` is the share of the words that the teacher writes in the student's place."""
        super().__init__()
        name, places = technique.name, setting.input_shape[0]
        if setting.student_features[LOGITS].dim() != 3:
            raise DistillError(f"{name}: is for text; the task's examples are no rows of words")
        if setting.teacher is None:
            raise DistillError(
                f"{name}: there is no teacher to ask about rows that nobody has seen before; give one with "
                "--teacher"
            )
        check(technique.beginning < places, f"{name}.beginning", technique.beginning, f"below {places}")
        self.technique, self.seed = technique, setting.plan.seed
        self.teacher, self.places = setting.teacher, places
        # In a tuple: the student is no part of the term, and its parameters are trained once.
        self.student = (setting.student,)
        self.voices = [(1 - mix, next_words_of(setting.student, places=places))]
        if mix:
            self.voices.append((mix, next_words_of_teacher(setting.teacher, places=places)))

    def loss(self, step: Step) -> Tensor:
        number = derived_seed(self.seed, step.number, f"{self.technique.name}/rows")
        random = torch.Generator().manual_seed(number)
        rows = self.rows(step, random) if step.progress >= self.technique.warm_up else None
        if rows is None:
            return self.on_real_rows(step)
        taught = self.teacher.answer(rows.x.numpy()).logits
        (student,) = self.student
        return self.on_own_rows(student(rows.x), torch.from_numpy(taught), rows)

    def rows(self, step: Step, random: torch.Generator) -> OwnRows | None:
        """The rows that a batch is taught on; None for its real ones."""
        if torch.rand((), generator=random).item() >= self.technique.share:
            return None
        return self.written(step, random)

    def written(self, step: Step, random: torch.Generator) -> OwnRows:
        """Rows that the student writes from the beginnings of a batch."""
        beginning, warmth = self.technique.beginning, self.technique.warmth
        with answering(self.student[0]):
            words = written_rows(
                self.voices, step.x[:, :beginning], places=self.places, warmth=warmth, random=random
            )
        return OwnRows.of(words, beginning=beginning)

    def on_real_rows(self, step: Step) -> Tensor:
        """The loss of a batch's own rows."""
        raise NotImplementedError

    def on_own_rows(self, logits: Tensor, taught: Tensor, rows: OwnRows) -> Tensor:
        """The loss of rows that the student wrote, of both sides' logits [n, S, V]."""
        raise NotImplementedError
