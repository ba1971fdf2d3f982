"""Which written rows are learned, and the measures of what was written: on rows that one can count."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from fedstill_proto.arrays import FloatArray
from fedstill_proto.text.vocabulary import START
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.on_policy.measures import distinct, perplexity_of, self_repetition
from fedstill_server.distill.recipes.sequence_level import SequenceLevel, SyntheticText
from fedstill_server.distill.stage_runner import StageRunner
from fedstill_server.distill.synthetic.text_filter import (
    DISPUTED,
    EXACT,
    NEAR,
    TOO_SURE,
    TOO_UNSURE,
    TextFilter,
)
from fedstill_server.distill.synthetic.text_judges import TeacherJudge, TrigramJudge, agreement, judges_of
from fedstill_server.distill.teachers.ensemble import EnsembleTeacher
from fedstill_server.teachers.interface import TeacherAnswers

from tests.server.test_distill_text import Kept, rows_of

WORDS = 8


class Halving:
    """A teacher of eight words that says the next one with a half, and the seven others alike."""

    digest = "halving"
    layers: tuple[str, ...] = ()
    attention: tuple[str, ...] = ()

    def __init__(self, ahead: int = 1) -> None:
        self.ahead = ahead

    def answer(self, x: FloatArray, *, layers: Sequence[str] = ()) -> TeacherAnswers:
        next_ones = np.eye(WORDS, dtype=np.float32)[(x + self.ahead) % WORDS]
        return TeacherAnswers(np.log(np.where(next_ones == 1, 0.5, 0.5 / 7)).astype(np.float32))


COUNTING = np.array([2, 3, 4, 5, 6])
JUMPING = np.array([2, 4, 6, 0, 2])
HALF = np.array([2, 3, 4, 6, 7])
NONE = np.zeros((0, 5), np.int64)


def test_measures_by_hand() -> None:
    rows = np.array([[2, 3, 2, 3, 2], [4, 5, 6, 7, 4]])
    # Pairs: 23 32 23 32, and 45 56 67 74: six different ones of eight, two of them repeated in their row.
    assert distinct(rows, length=2) == 6 / 8
    assert self_repetition(rows, length=2) == 2 / 8
    # Three words counted on, one did not: (1/2 1/2 1/14 1/2) to the power of -1/4.
    assert perplexity_of(Halving(), HALF[None], beginning=1) == pytest.approx((2 * 2 * 2 * 14) ** 0.25)
    assert perplexity_of(Halving(), HALF[None], beginning=3) == pytest.approx(math.sqrt(14 * 2))


def test_each_row_is_dropped_for_its_first_reason() -> None:
    words = np.array([COUNTING, JUMPING, HALF, HALF, COUNTING + 1])
    wanted = TextFilter(least_perplexity=2.1, most_perplexity=10, unique=True)
    found = wanted.of(words, beginning=1, teacher=Halving(), known=NONE)
    # Perplexities 2, 14, and 3.3 for the others but the last, which counts on as the first does.
    assert found.kept.tolist() == [False, False, True, False, False]
    assert dict(found.dropped) == {TOO_SURE: 2, TOO_UNSURE: 1, EXACT: 1}
    assert str(found).startswith("1 of 5 rows kept; dropped: 2 of too little perplexity")


def test_what_is_public_was_there_before() -> None:
    found = TextFilter(unique=True).of(
        np.array([COUNTING, HALF]), beginning=1, teacher=Halving(), known=HALF[None]
    )
    assert found.kept.tolist() == [True, False]


def test_near_rows_share_their_triples() -> None:
    # Of the triples 234 345 456 and 234 345 457, two of four are in both.
    words = np.array([COUNTING, [2, 3, 4, 5, 7], [7, 6, 5, 4, 3]])
    for nearness, kept in ((0.5, [True, False, True]), (0.51, [True, True, True])):
        found = TextFilter(nearness=nearness).of(words, beginning=1, teacher=Halving(), known=NONE)
        assert found.kept.tolist() == kept
        assert dict(found.dropped) == ({NEAR: 1} if not all(kept) else {})


def test_other_teachers_have_to_agree() -> None:
    both = EnsembleTeacher([Halving(1), Halving(2)])
    judges = judges_of(both, NONE, words=WORDS)
    assert [agreement(one, HALF[None], beginning=1, likely=1).tolist() for one in judges] == [[0.75], [0.25]]
    found = TextFilter(agreement=0.5, likely_words=1).of(
        np.array([HALF, COUNTING]), beginning=1, teacher=both, known=NONE, judges=judges
    )
    assert dict(found.dropped) == {DISPUTED: 2}
    assert isinstance(judges[0], TeacherJudge)


def test_trigrams_of_public_text_judge_a_single_teacher() -> None:
    public = np.array([[START, 2, 3, 4, 5, START, 2, 3], [4, 5, START, 2, 3, 4, 5, START]])
    (judge,) = judges_of(Halving(), public, words=WORDS)
    assert isinstance(judge, TrigramJudge)
    rows = np.array([[START, 2, 3, 4, 5], [START, 5, 4, 3, 2]])
    assert agreement(judge, rows, beginning=1, likely=1).tolist() == [1.0, 0.0]


def test_a_recipe_learns_what_passes_and_says_what_did_not() -> None:
    base, shop = rows_of(7), Kept()
    labels = base.labels.copy()
    labels[:3, -1] = 0  # the others count on, as the teacher does
    base = replace(base, labels=labels)

    SequenceLevel(beginning=3, unique=True).run(base, shop)

    assert np.array_equal(shop.job.x, base.x[:3])
    assert shop.notes == [
        "sequence-level: 7 rows written by the teacher",
        "sequence-level: 3 of 7 rows kept; dropped: 4 that were there before",
    ]

    with pytest.raises(DistillError, match=r"nothing that the teacher wrote passes \(0 of 7 rows kept"):
        SequenceLevel(beginning=3, least_perplexity=50).run(base, StageRunner())
    with pytest.raises(DistillError, match=r"most_perplexity: 2\.0 is not above least_perplexity"):
        SyntheticText(least_perplexity=3, most_perplexity=2.0)
