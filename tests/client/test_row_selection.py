"""Which public rows a device answers, with numbers that can be worked out on paper."""

from __future__ import annotations

import numpy as np
import pytest
from fedstill_client.model.forward import Forward
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.rounds.row_selection import ambiguity, density_ratios, selected_rows
from fedstill_client.rounds.summarizer import summarize
from fedstill_client.rounds.trained_stack import TrainedStack
from fedstill_proto.codec.api import Expected, decode_summary
from fedstill_proto.messages import RowSelection, SoftLabelSummary, SummaryKind, SummaryRequest
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec

from tests.client.samples import CLASSES, artifact, examples, plan, student, task


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


def test_ambiguity_is_entropy_as_a_share_of_the_largest() -> None:
    logits = np.log(np.array([[1, 1, 1], [1, 1, 1e-30], [1, 1e-30, 1e-30]], np.float32))
    np.testing.assert_allclose(ambiguity(logits), [1, np.log(2) / np.log(3), 0], atol=1e-6)


def test_density_ratios_of_one_example_by_hand() -> None:
    # Two rows 100 apart: a width of 100, so K is 1 on its diagonal and exp(-1/2) beside it; one example, so
    # lambda is 1; and b is the first column of K, the example being the first row.
    near = np.exp(-0.5)
    kernel, b = np.array([[1, near], [near, 1]]), np.array([1, near])
    wanted = np.linalg.solve(kernel / 2 + np.eye(2), b)
    np.testing.assert_allclose(density_ratios(column(0), column(0, 100)), wanted, atol=1e-6)


def test_rows_like_the_devices_own_are_denser_than_others() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 2)).astype(np.float32)
    rows[30:] += 6
    ratios = density_ratios(rng.normal(size=(40, 2)).astype(np.float32), rows)
    assert ratios[:30].mean() > 1 > ratios[30:].mean()
    assert (ratios >= 0).all()
    alike = density_ratios(rows, rows)
    assert 0.7 < alike.mean() < 1.1  # where both are alike the ratio is 1, but for the pull of lambda to 0


def test_a_device_without_examples_and_rows_that_are_all_the_same_are_no_trouble() -> None:
    assert density_ratios(column(), column(1, 2)).tolist() == [0, 0]
    assert np.isfinite(density_ratios(column(1), column(1, 1))).all()
    assert np.isfinite(density_ratios(column(1), column(1))).all()


def test_a_row_is_answered_if_both_selectors_say_so() -> None:
    logits = np.array([[9, 0], [0, 0], [9, 0]], np.float32)
    rows, own = column(0, 0, 1000), column(0, 0.1)
    assert selected_rows(RowSelection(0, 1), logits, rows, own).tolist() == [True, True, True]
    assert selected_rows(RowSelection(0, 0.5), logits, rows, own).tolist() == [True, False, True]
    assert selected_rows(RowSelection(0.5, 1), logits, rows, own).tolist() == [True, True, False]
    assert selected_rows(RowSelection(0.5, 0.5), logits, rows, own).tolist() == [True, False, False]


def answer(selection: RowSelection, *, labels: list[int]) -> tuple[SoftLabelSummary, np.ndarray]:
    public_x, _ = examples(12, seed=5)
    request = SummaryRequest(
        SummaryKind.PUBLIC_SET, SoftLabelCodec(Encoding.FLOAT32), np.arange(12)[::-1], True, selection
    )
    asked = task(plan(temperature=2.0), request=request)
    private = PrivateStack.of_one(examples(len(labels), seed=1)[0], np.array(labels, np.int64))
    stacked = {name: array[None] for name, array in student(1).items()}
    forward = Forward(artifact())
    ((blob, _),) = summarize(asked, TrainedStack(stacked, private, forward, public_x), devices=1)
    logits = forward.shared(stacked, public_x[::-1])[0]
    return decode_summary(blob, expected=Expected.of(asked, CLASSES)), logits


def test_a_summary_holds_the_selected_rows_and_the_counts() -> None:
    everything, logits = answer(RowSelection(), labels=[2, 0, 2, 2])
    assert everything.statistics.present_classes.tolist() == [0, 2]
    assert everything.statistics.class_examples.tolist() == [1, 3]
    threshold = float(np.median(ambiguity(logits)))
    some, _ = answer(RowSelection(most_ambiguity=threshold), labels=[1])
    wanted = ambiguity(logits) <= np.float32(threshold)
    assert some.statistics.answered is not None
    assert some.statistics.answered.tolist() == wanted.tolist()
    assert some.statistics.soft_labels is not None
    assert everything.statistics.soft_labels is not None
    assert 0 < wanted.sum() < 12
    np.testing.assert_array_equal(
        some.statistics.soft_labels.dense(), everything.statistics.soft_labels.dense()[wanted]
    )


@pytest.mark.parametrize("labels", [[], [1, 1]])
def test_a_device_may_have_nothing_to_say(labels: list[int]) -> None:
    nothing, _ = answer(RowSelection(least_density_ratio=1e6), labels=labels)
    assert nothing.statistics.soft_labels is not None
    assert nothing.statistics.soft_labels.rows == 0
    assert nothing.statistics.answered is not None
    assert not nothing.statistics.answered.any()
