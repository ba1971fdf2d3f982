"""The device's own label distribution in its predictions."""

from __future__ import annotations

import numpy as np
import pytest
from fedstill_client.label_prior import label_prior_strength, log_label_prior, personal_logits
from fedstill_proto.errors import FedstillError


def test_the_prior_counts_own_labels_with_laplaces_rule() -> None:
    labels = np.array([[0, 0, 1, 2], [2, 2, 2, 2]])  # the second device owns only one example
    counts = np.array([3, 1])

    prior = log_label_prior(labels, counts, classes=3)

    # (2+1)/(3+3), (1+1)/6, (0+1)/6 and 1/4, 1/4, 2/4; against 1/3
    expected = [[3 / 6, 2 / 6, 1 / 6], [1 / 4, 1 / 4, 2 / 4]]
    np.testing.assert_allclose(prior, np.log(np.array(expected) * 3), rtol=1e-6)


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
