"""The device's own label distribution in its predictions."""

from __future__ import annotations

import numpy as np
import pytest
from fedstill_client.model.label_prior import (
    CONCENTRATIONS,
    log_label_prior,
    owner_log_prior,
)
from fedstill_client.model.owner_share import check_owner_share
from fedstill_proto.errors import FedstillError


def test_the_prior_weighs_concentrations_by_their_evidence() -> None:
    labels = np.array([[0, 0, 1], [1, 1, 1]])  # of the second device, only one is its own
    counts = np.array([2, 1])

    prior = log_label_prior(labels, counts, classes=2)

    # Two alike of two classes: a (a + 1) / (2a (2a + 1)). One alone says nothing of a; each gives it
    # (1 + a) / (1 + 2a).
    weights = np.array([(a + 1) / (2 * (2 * a + 1)) for a in CONCENTRATIONS])
    first = weights @ [(2 + a) / (2 + 2 * a) for a in CONCENTRATIONS] / weights.sum()
    second = np.mean([(1 + a) / (1 + 2 * a) for a in CONCENTRATIONS])
    expected = [[first, 1 - first], [1 - second, second]]
    np.testing.assert_allclose(prior, np.log(np.array(expected) * 2), rtol=1e-6)


def test_what_a_device_never_saw_is_rarer_where_it_knows_one_class() -> None:
    one_class, all_classes = np.zeros((1, 90), np.int64), np.arange(90)[None] % 9  # never class 9

    skewed, even = (
        np.exp(log_label_prior(labels, np.array([90]), classes=10)[0, 9]) / 10
        for labels in (one_class, all_classes)
    )

    assert skewed < 0.003  # Laplace's rule: 0.01 for both
    assert 0.01 < even < 0.1


def test_a_device_without_examples_changes_nothing() -> None:
    prior = log_label_prior(np.array([[2, 2]]), np.array([0]), classes=4)

    np.testing.assert_allclose(prior, np.zeros((1, 4)), atol=1e-7)


def test_a_third_of_the_questions_are_the_owner_s() -> None:
    labels, counts = np.array([[0] * 90]), np.array([90])

    added = owner_log_prior(labels, counts, classes=10, owner_share=0.3)[0]

    seen, never = np.exp(log_label_prior(labels, counts, classes=10)[0, [0, 9]])
    np.testing.assert_allclose(added[[0, 9]], np.log([0.3 * seen + 0.7, 0.3 * never + 0.7]), rtol=1e-5)
    assert seen > 9.8  # nearly all of ten classes' worth
    assert added[9] > np.log(0.7)  # however often it was not seen


def test_no_share_adds_nothing_and_all_of_it_is_bayes_rule() -> None:
    labels, counts = np.array([[0, 0, 1], [1, 1, 1]]), np.array([3, 3])

    none, whole = (owner_log_prior(labels, counts, classes=2, owner_share=share) for share in (0.0, 1.0))

    assert none.tolist() == [[0, 0], [0, 0]]
    np.testing.assert_allclose(whole, log_label_prior(labels, counts, classes=2), rtol=1e-6)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), "1", True, None])
def test_a_share_that_is_none_is_refused(share: object) -> None:
    with pytest.raises(FedstillError, match="owner_share is"):
        check_owner_share(share)
