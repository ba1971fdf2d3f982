"""The device's own label distribution in its predictions."""

from __future__ import annotations

import numpy as np
import pytest
from fedstill_client.model.label_prior import (
    CONCENTRATIONS,
    label_prior_strength,
    log_label_prior,
    personal_logits,
)
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


def test_the_prior_tips_a_close_decision_and_no_other() -> None:
    logits = np.array([[[1.0, 1.2], [0.0, 3.0]]], np.float32)  # one device, two rows
    log_prior = np.log(np.array([[1.5, 0.5]], np.float32))

    tipped = personal_logits(logits, log_prior, 1.0)

    assert logits.argmax(-1).tolist() == [[1, 1]]
    assert tipped.argmax(-1).tolist() == [[0, 1]]


def test_strength_scales_and_zero_switches_off() -> None:
    logits = np.array([[[1.0, 2.0]]], np.float32)
    log_prior = np.array([[0.5, -0.5]], np.float32)

    assert personal_logits(logits, log_prior, 2.0).tolist() == [[[2.0, 1.0]]]
    assert personal_logits(logits, log_prior, 0).tolist() == logits.tolist()


@pytest.mark.parametrize("strength", [-0.1, float("nan"), float("inf"), "1", True, None])
def test_a_strength_that_is_none_is_refused(strength: object) -> None:
    with pytest.raises(FedstillError, match="label_prior is"):
        label_prior_strength(strength)
