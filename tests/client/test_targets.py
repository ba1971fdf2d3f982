"""What answers of each target come to on a device."""

from __future__ import annotations

import math

import numpy as np
from fedstill_client.model.targets import app_answers, hard_losses, right_answers, soft_labels
from fedstill_client.rounds.logit_shift import moved_answers
from fedstill_proto.package.target import Target, TargetKind

LABELS = Target(kind=TargetKind.MULTI_LABEL, size=2)
NUMBERS = Target(kind=TargetKind.REGRESSION, size=1, offset=(10.0,), scale=(2.0,))
Z = math.log(3)  # the logit of 3/4


def of_labels(*logits: float) -> np.ndarray:
    return np.array([[[-z / 2, z / 2] for z in logits]], np.float32)


def test_a_label_s_chance_is_a_sigmoid() -> None:
    answers = of_labels(Z, -Z)
    np.testing.assert_allclose(app_answers(LABELS, answers), [[0.75, 0.25]], rtol=1e-6)
    soft = soft_labels(LABELS, answers, temperature=2.0).dense()  # a row for each label
    root = 1 / (1 + math.exp(-Z / 2))
    np.testing.assert_allclose(soft, [[1 - root, root], [root, 1 - root]], rtol=1e-6)


def test_each_label_is_right_or_wrong_by_itself() -> None:
    answers, labels = of_labels(Z, -Z), np.array([[1, 1]])
    assert right_answers(LABELS, answers, labels).tolist() == [[True, False]]
    np.testing.assert_allclose(
        hard_losses(LABELS, answers, labels), [[-math.log(0.75), -math.log(0.25)]], rtol=1e-6
    )


def test_a_number_s_answer_is_in_the_user_s_units() -> None:
    answers = np.array([[[1.0, 2 * math.log(0.5)]]], np.float32)
    np.testing.assert_allclose(app_answers(NUMBERS, answers), [[[12.0, 1.0]]], rtol=1e-6)
    assert right_answers(NUMBERS, answers, np.array([[0.6]])).all()
    assert not right_answers(NUMBERS, answers, np.array([[0.4]])).any()
    # (log 2 pi + log 1/4 + 1 / (1/4)) / 2 of a number that is off by 1
    expected = (math.log(2 * math.pi) - 2 * math.log(2) + 4) / 2
    np.testing.assert_allclose(hard_losses(NUMBERS, answers, np.array([[0.0]])), [[expected]], rtol=1e-6)


def test_how_far_a_number_moved_is_a_difference() -> None:
    before, after = (np.array([[each]], np.float32) for each in ([1.0, 0.5], [1.5, -0.5]))
    assert moved_answers(NUMBERS, before, after, temperature=1.0).tolist() == [[[0.5, -1.0]]]
