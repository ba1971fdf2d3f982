"""How strong a label prior is: what held-out examples say, and what is believed without any."""

from __future__ import annotations

import numpy as np
import pytest
from fedstill_client.agent_types import LearningOutcome
from fedstill_client.learning import LearningSettings, learn
from fedstill_client.model.label_prior_fit import STRENGTHS, StrengthTally, default_strength
from fedstill_client.model.student_store import OwnStudent

from tests.client.learning_samples import MemoryStore, package

TIPPED = np.log(np.array([9.0, 1.0], np.float32))  # the first of two classes is said nine times as often


def strength(logits: list[list[float]], labels: list[int], usual: float) -> float:
    tally = StrengthTally.of(np.array(logits, np.float32), np.array(labels), TIPPED)
    return float(STRENGTHS[tally.likeliest(usual)])


@pytest.mark.parametrize("usual", [0.0, 0.5, 1.0])
def test_a_few_examples_move_what_is_believed_a_little(usual: float) -> None:
    assert abs(strength([[0.0, 0.0]], [0], usual) - usual) <= 0.125


def test_a_student_that_knows_nothing_of_the_skew_gets_the_whole_prior() -> None:
    assert strength([[0.0, 0.0]] * 1000, [0] * 900 + [1] * 100, 0.5) == 1.0


def test_one_that_knows_all_of_it_gets_none() -> None:
    knows = [[float(TIPPED[0]), float(TIPPED[1])]] * 1000

    assert strength(knows, [0] * 900 + [1] * 100, 0.5) == 0.0


def test_the_sum_of_the_parts_is_the_whole() -> None:
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(30, 2)).astype(np.float32), random.integers(2, size=30)

    whole = StrengthTally.of(logits, labels, TIPPED)
    parts = StrengthTally.zero()
    for part in (slice(0, 7), slice(7, 30)):
        parts += StrengthTally.of(logits[part], labels[part], TIPPED)

    np.testing.assert_allclose(parts.loss, whole.loss)
    assert parts.correct.tolist() == whole.correct.tolist()
    assert parts.answers == whole.answers == 30


def test_without_a_prior_it_is_plain_cross_entropy() -> None:
    tally = StrengthTally.of(np.log(np.array([[[3.0, 1.0]]])), np.array([[1]]), None)

    assert tally.loss.tolist() == pytest.approx([np.log(4)])
    assert (tally.correct.tolist(), tally.answers, tally.likeliest(1.0)) == ([0], 1, 0)


def test_a_student_of_no_number_has_no_finite_loss() -> None:
    tally = StrengthTally.of(np.full((3, 2), np.nan, np.float32), np.zeros(3, np.int64), TIPPED)

    assert not np.isfinite(tally.loss[tally.likeliest(1.0)])


@pytest.mark.parametrize(
    ("student", "wanted"),
    [
        (None, 1.0),
        (OwnStudent("abcd", 7, {}), 1.0),
        (OwnStudent("offline", 0, {}), 1.0),  # the package's own, before its first learning
        (OwnStudent("offline", 1, {}), 0.5),
    ],
)
def test_what_is_believed_of_a_student(student: OwnStudent | None, wanted: float) -> None:
    assert default_strength(student) == wanted


def test_learning_is_judged_with_the_prior_that_answers() -> None:
    """All the device's examples are of one class: with its prior the package's student is hardly wrong."""
    outcomes = []
    for prior in (0.0, 1.0):
        store = MemoryStore.of(40, 40)
        store.training.labels[:], store.held_out.labels[:] = 1, 1
        outcomes.append(learn(store, package(), settings=LearningSettings(epochs=1, label_prior=prior)))
    without, with_prior = outcomes

    assert without.before is not None
    assert with_prior.before is not None
    assert without.result is LearningOutcome.REPLACED
    assert with_prior.before.loss < without.before.loss / 5
    assert with_prior.before.correct > without.before.correct
