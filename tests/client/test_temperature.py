"""How sure a student may say it is, by examples that it never trains on."""

from __future__ import annotations

import numpy as np
import pytest
from fedstill_client.model.temperature import fitted_temperature

SURE = np.tile(np.array([4.0, 0.0], np.float32), (4000, 1))  # 98 % by itself


@pytest.mark.parametrize("usual", [0.7, 1.0])
def test_without_examples_it_is_the_usual_one(usual: float) -> None:
    none = fitted_temperature(SURE[:0], np.zeros(0, np.int64), None, usual=usual)

    assert none == pytest.approx(usual)


def test_a_student_that_is_right_three_times_in_four_says_so() -> None:
    labels = np.arange(4000) % 4 == 0

    temperature = fitted_temperature(SURE, labels.astype(np.int64), None, usual=2.0)

    assert 1 / (1 + np.exp(-4 / temperature)) == pytest.approx(0.75, abs=0.01)


def test_a_few_examples_move_it_a_little() -> None:
    assert 1.0 < fitted_temperature(SURE[:1], np.array([1]), None, usual=1.0) < 1.5


def test_who_is_always_right_becomes_no_surer() -> None:
    assert fitted_temperature(SURE / 4, np.zeros(4000, np.int64), None, usual=1.0) == pytest.approx(1.0)


def test_what_the_prior_says_the_student_need_not_say() -> None:
    prior = np.array([0.0, 4.0], np.float32)  # half and half, together with the student at 1
    labels = np.arange(4000) % 2

    assert fitted_temperature(SURE, labels, prior, usual=1.0) == pytest.approx(1.0)
