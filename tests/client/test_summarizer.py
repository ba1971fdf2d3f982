"""What a device says: logits through the forward graph, class means, public soft labels, parameters."""

from __future__ import annotations

import numpy as np
import pytest
from fedstill_client.model.forward import Forward
from fedstill_client.model.label_means import class_means, softened
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.model.runtime import GraphError
from fedstill_client.model.student_shapes import StudentMismatch
from fedstill_client.rounds.logit_shift import logit_shift
from fedstill_client.rounds.summarizer import Encoded, summarize
from fedstill_client.rounds.trained_stack import TrainedStack
from fedstill_proto.arrays import FloatArray
from fedstill_proto.codec.api import Expected, decode_summary
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import RoundTask, SoftLabelSummary, SummaryKind, SummaryRequest
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_proto.soft_labels.label_arrays import TopKSoftLabels

from tests.client.bigram import PLACES, TABLE, WORDS, bigram_artifact, bigram_student
from tests.client.samples import (
    CLASSES,
    artifact,
    examples,
    mlp_logits,
    plan,
    softmax,
    stack_of,
    student,
    task,
)

FLOAT32 = SoftLabelCodec(Encoding.FLOAT32)
TOP_2 = SoftLabelCodec(Encoding.TOP_K, 2)


def stacked(*seeds: int) -> dict[str, FloatArray]:
    students = [student(seed) for seed in seeds]
    return {name: np.stack([one[name] for one in students]) for name in students[0]}


def decoded(answers: list[Encoded], round_task: RoundTask) -> list[SoftLabelSummary]:
    expected = Expected.of(round_task, CLASSES, student())
    return [decode_summary(blob, expected=expected) for blob, _ in answers]


class TestForward:
    """The forward graph, in chunks of 64 rows."""

    @pytest.mark.parametrize("rows", [0, 1, 63, 64, 65, 200])
    def test_shared_examples(self, rows: int) -> None:
        x, _ = examples(rows)

        logits = Forward(artifact(stack_size=2)).shared(stacked(1, 2), x)

        assert logits.shape == (2, rows, CLASSES)
        for device, seed in enumerate((1, 2)):
            np.testing.assert_allclose(logits[device], mlp_logits(student(seed), x), atol=1e-5)

    def test_own_examples_come_in_the_order_of_the_device(self) -> None:
        private = stack_of(70, 3, capacity=90)

        logits = Forward(artifact(stack_size=2)).own(stacked(1, 2), private)

        assert logits.shape == (2, 70, CLASSES)
        for device, (seed, count) in enumerate(((1, 70), (2, 3))):
            wanted = mlp_logits(student(seed), private.x[device, :count])
            np.testing.assert_allclose(logits[device, :count], wanted, atol=1e-5)

    def test_logits_do_not_depend_on_the_stack(self) -> None:
        x, _ = examples(20)

        together = Forward(artifact(stack_size=5)).shared(stacked(1, 2, 3, 4, 5), x)
        alone = Forward(artifact()).shared(stacked(3), x)

        np.testing.assert_array_equal(together[2], alone[0])

    def test_weights_that_are_views_are_read_as_well(self) -> None:
        wide = {name: np.repeat(array, 2, axis=-1) for name, array in stacked(1).items()}
        views = {name: array[..., ::2] for name, array in wide.items()}
        x, _ = examples(5)

        logits = Forward(artifact()).shared(views, x)

        np.testing.assert_allclose(logits[0], mlp_logits(student(1), x), atol=1e-5)

    def test_examples_of_another_shape_are_refused(self) -> None:
        with pytest.raises(FedstillError, match=r"shape \(7,\); the student 'mlp-small' takes \(6,\)"):
            Forward(artifact()).shared(stacked(1), np.zeros((2, 7), np.float32))

    def test_a_student_with_a_missing_parameter_is_refused(self) -> None:
        incomplete = stacked(1)
        del incomplete["hidden.bias"]
        with pytest.raises((GraphError, StudentMismatch), match=r"hidden\.bias"):
            Forward(artifact()).shared(incomplete, np.zeros((2, 6), np.float32))


def test_softening_is_softmax_at_a_temperature() -> None:
    logits = np.log(np.array([[1.0, 4.0, 4.0]], np.float32))

    assert softened(logits, 1.0)[0] == pytest.approx([1 / 9, 4 / 9, 4 / 9])
    assert softened(logits, 2.0)[0] == pytest.approx([1 / 5, 2 / 5, 2 / 5])  # square roots: 1, 2, 2


def test_softening_stands_large_logits() -> None:
    assert softened(np.array([[3e38, 0.0]], np.float32), 1.0).tolist() == [[1.0, 0.0]]


def test_class_means_by_hand() -> None:
    # At temperature 1: softmax(log p) = p.
    rows = np.array([[0.5, 0.5], [0.1, 0.9], [0.3, 0.7], [1.0, 1e-30]], np.float32)
    logits = np.stack([np.log(rows), np.log(rows)])
    labels = np.array([[1, 0, 1, 0], [1, 1, 1, 1]])  # the last row of the first device is padding

    means = class_means(logits, labels, np.array([3, 2]), temperature=1.0)

    assert means.device.tolist() == [0, 0, 1]
    assert means.present_class.tolist() == [0, 1, 1]
    assert means.examples.tolist() == [1, 2, 2]
    np.testing.assert_allclose(means.soft_labels, [[0.1, 0.9], [0.4, 0.6], [0.3, 0.7]], atol=1e-6)
    assert means.of(0) == slice(0, 2)
    assert means.of(1) == slice(2, 3)


def test_class_means_of_devices_without_examples() -> None:
    logits = np.zeros((2, 0, 3), np.float32)

    means = class_means(logits, np.zeros((2, 5), np.int64), np.array([0, 0]), temperature=1.0)

    assert len(means.device) == 0
    assert means.soft_labels.shape == (0, 3)
    assert means.of(1) == slice(0, 0)


def test_class_mean_summaries_say_what_each_device_knows() -> None:
    private = stack_of(20, 0, 2)
    private.labels[0, :20] = np.arange(20) % 2  # no class 2
    private.labels[2, :2] = 2
    round_task = task(plan(temperature=3.0), request=SummaryRequest(SummaryKind.CLASS_MEANS, FLOAT32))
    students = stacked(1, 2, 3)

    answers = summarize(
        round_task, TrainedStack(students, private, Forward(artifact(stack_size=3))), devices=3
    )

    many, none, two = decoded(answers, round_task)
    assert many.statistics.present_classes.tolist() == [0, 1]
    assert many.statistics.class_examples.tolist() == [10, 10]
    assert none.statistics.present_classes.tolist() == []
    assert two.statistics.present_classes.tolist() == [2]
    probabilities = softmax(mlp_logits(student(1), private.x[0, :20]) / 3)
    assert many.statistics.soft_labels is not None
    wanted = [probabilities[0::2].mean(0), probabilities[1::2].mean(0)]
    np.testing.assert_allclose(many.statistics.soft_labels.dense(), wanted, atol=1e-6)


def test_class_means_are_bit_for_bit_the_same_alone_and_in_a_stack() -> None:
    private = stack_of(30, 7, 50)
    round_task = task(request=SummaryRequest(SummaryKind.CLASS_MEANS, FLOAT32))
    together = summarize(
        round_task, TrainedStack(stacked(1, 2, 3), private, Forward(artifact(stack_size=3))), devices=3
    )

    own = PrivateStack.of_one(private.x[1, :7], private.labels[1, :7])
    alone = summarize(round_task, TrainedStack(stacked(2), own, Forward(artifact())), devices=1)

    assert together[1].summary == alone[0].summary


def test_public_soft_labels_are_of_the_rows_asked_for() -> None:
    public_x, _ = examples(10, seed=5)
    request = SummaryRequest(SummaryKind.PUBLIC_SET, FLOAT32, np.array([8, 2]))
    round_task = task(plan(temperature=2.0), request=request)

    answers = summarize(
        round_task,
        TrainedStack(stacked(1, 2), stack_of(1, 1), Forward(artifact(stack_size=2)), public_x),
        devices=2,
    )

    for seed, summary in zip((1, 2), decoded(answers, round_task), strict=True):
        assert summary.statistics.soft_labels is not None
        wanted = softmax(mlp_logits(student(seed), public_x[[8, 2]]) / 2)
        np.testing.assert_allclose(summary.statistics.soft_labels.dense(), wanted, atol=1e-6)


def test_public_rows_that_the_device_lacks_are_refused() -> None:
    request = SummaryRequest(SummaryKind.PUBLIC_SET, FLOAT32, np.array([8]))
    with pytest.raises(FedstillError, match="public row 8, this device's public set has 5"):
        summarize(
            task(request=request),
            TrainedStack(stacked(1), stack_of(1), Forward(artifact()), examples(5)[0]),
            devices=1,
        )


def test_parameters_travel_with_their_weight_in_the_average() -> None:
    round_task = task(request=SummaryRequest(SummaryKind.PARAMETERS))

    answers = summarize(
        round_task,
        TrainedStack(stacked(1, 2), stack_of(4, 9), Forward(artifact(stack_size=2))),
        devices=2,
    )

    first, second = decoded(answers, round_task)
    assert (first.statistics.examples, second.statistics.examples) == (4, 9)
    for name, array in student(2).items():
        np.testing.assert_array_equal(second.statistics.parameters[name], array)


def test_no_summary_is_empty_and_only_of_the_named_devices() -> None:
    answers = summarize(
        task(),
        TrainedStack(stacked(1, 2, 3), stack_of(4, 9, 1), Forward(artifact(stack_size=3))),
        devices=2,
    )

    assert [summary.kind for summary in decoded(answers, task())] == [SummaryKind.NONE] * 2


def test_the_shift_from_one_soft_label_to_another() -> None:
    before, after = np.log(np.array([[0.8, 0.2]], np.float32)), np.log(np.array([[0.5, 0.5]], np.float32))
    # 0.5 / 0.8 to 0.5 / 0.2 is 1 to 4; a temperature that softens logits twice as large changes nothing.
    for temperature in (1.0, 2.0):
        shift = logit_shift(temperature * before, temperature * after, temperature=temperature)
        np.testing.assert_allclose(softened(shift, temperature), [[0.2, 0.8]], atol=1e-6)


def test_unlikely_classes_move_no_way() -> None:
    before, after = np.array([[0.0, -20.0, -10.0]], np.float32), np.array([[0.0, -9.0, -30.0]], np.float32)
    np.testing.assert_allclose(logit_shift(before, after, temperature=1.0), 0, atol=1e-3)


class TestNextWords:
    """Of a student of text: the likeliest words after each place of the asked rows."""

    ROWS = np.array([2, 0])
    PUBLIC = np.arange(9).reshape(3, PLACES)

    def answer(self, codec: SoftLabelCodec, **asked: bool) -> list[Encoded]:
        request = SummaryRequest(SummaryKind.PUBLIC_SET, codec, self.ROWS, **asked)  # type: ignore[arg-type]
        parameters = {TABLE: bigram_student(1)[TABLE][None]}
        nothing = PrivateStack.of_one(np.zeros((0, PLACES), np.int64), np.zeros((0, PLACES), np.int64))
        forward = Forward(bigram_artifact())
        asking = task(request=request, family="bigram")
        return summarize(asking, TrainedStack(parameters, nothing, forward, self.PUBLIC), devices=1)

    def test_they_are_the_dense_ones_cut_short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        (whole,) = self.answer(TOP_2)
        monkeypatch.setattr("fedstill_client.rounds.summarizer._VALUES_AT_ONCE", 1)  # a row at a time

        (in_parts,) = self.answer(TOP_2)

        assert in_parts.summary == whole.summary
        asking = task(request=SummaryRequest(SummaryKind.PUBLIC_SET, TOP_2, self.ROWS), family="bigram")
        expected = Expected.of(asking, WORDS, places=PLACES)
        said = decode_summary(whole.summary, expected=expected).statistics.soft_labels
        table = bigram_student(1)[TABLE]
        logits = table[self.PUBLIC[self.ROWS].reshape(-1)] @ table.T
        dense = softened(logits, asking.training.temperature)
        likeliest = np.sort(np.argsort(-dense, axis=1)[:, :2], axis=1)
        assert isinstance(said, TopKSoftLabels)
        np.testing.assert_array_equal(said.indices, likeliest)
        np.testing.assert_allclose(
            said.probabilities, np.take_along_axis(dense, likeliest, axis=1), atol=1 / 255
        )

    def test_more_than_that_is_refused(self) -> None:
        for codec, asked in ((FLOAT32, {}), (TOP_2, {"class_counts": True}), (TOP_2, {"relative": True})):
            with pytest.raises(FedstillError, match="likeliest next words"):
                self.answer(codec, **asked)
