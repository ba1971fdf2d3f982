"""Which rows a device trains on, and what they weigh."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from fedstill_client.model.batches import ArtifactMismatch, StackPlan, plan_batches, plan_stacks
from fedstill_client.model.order import device_ids
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.model.step import StepArrays
from fedstill_proto.arrays import FloatArray
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import ClassSoftLabels, Optimizer, PublicSoftLabels, RoundTask
from fedstill_proto.package.artifact import StudentManifest
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels, TopKSoftLabels
from hypothesis import given
from hypothesis import strategies as st

from tests.client.samples import SHAPE, artifact, examples, plan, soft_rows, stack_of, task

Arrays = dict[str, npt.NDArray[Any]]


def planned(
    private: PrivateStack,
    round_task: RoundTask,
    *,
    names: list[str] | None = None,
    public_x: FloatArray | None = None,
    shuffle: bool = False,
    **built: Any,
) -> tuple[StackPlan, list[Arrays]]:
    """A plan and copies of all its steps, for an artifact of `step_rows` 8 unless said otherwise."""
    manifest = manifest_of(private, **built)
    ids = device_ids(names or [f"device {number}" for number in range(private.devices)])
    steps = plan_batches(private, ids, round_task, manifest=manifest, public_x=public_x, shuffle=shuffle)
    batch = StepArrays.empty(manifest)
    steps.start(batch)
    filled = []
    for step in range(steps.steps):
        steps.fill(step, batch)
        filled.append({name: array.copy() for name, array in batch.inputs().items()})
    return steps, filled


def manifest_of(private: PrivateStack, **built: Any) -> StudentManifest:
    return artifact(stack_size=private.devices, **built).manifest


def test_without_soft_targets_each_batch_is_a_mean_over_its_own_examples() -> None:
    private = stack_of(5)

    steps, (first, second) = planned(private, task(plan(batch_size=4)))

    assert first["hard_weight"].tolist() == [[0.25] * 4 + [0] * 4]
    assert second["hard_weight"].tolist() == [[1, 0, 0, 0, 0, 0, 0, 0]]
    np.testing.assert_array_equal(first["x"][0, :4], private.x[0, :4])
    np.testing.assert_array_equal(second["labels"][0, 0], private.labels[0, 4])
    assert first["soft_weight"].max() == 0
    assert steps.steps_of.tolist() == [2]


def test_a_device_that_is_done_waits_without_learning() -> None:
    _, filled = planned(stack_of(9, 2), task(plan(batch_size=4, learning_rate=0.5, epochs=2)))

    rates = [step["lr"].tolist() for step in filled]
    weights = [step["hard_weight"].sum(axis=1).tolist() for step in filled]
    # Three batches an epoch for the first device, one for the second, epochs without gaps.
    assert rates == [[0.5, 0.5]] * 2 + [[0.5, 0.0]] * 4
    assert weights == [[1, 1]] * 2 + [[1, 0]] * 4


def test_class_means_give_each_row_the_soft_label_of_its_class() -> None:
    private = PrivateStack(np.zeros((1, 2, *SHAPE), np.float32), np.array([[2, 1]]), np.array([2]))
    fleet = soft_rows(2)
    targets = ClassSoftLabels(np.array([0, 2]), DenseSoftLabels(fleet))  # the fleet has nothing on class 1

    _, (step,) = planned(private, task(plan(soft_weight=0.25), soft_targets=targets))

    assert step["hard_weight"][0, :3].tolist() == [0.375, 0.5, 0]  # (1 - 0.25) / 2, and 1 / 2 for class 1
    assert step["soft_weight"][0, :3].tolist() == [0.125, 0, 0]
    np.testing.assert_array_equal(step["soft_labels"][0, 0], fleet[1])


def test_public_examples_follow_the_private_ones_in_a_mixed_step() -> None:
    public_x, _ = examples(10, seed=5)
    named = np.array([7, 1, 4])
    labels = soft_rows(3)
    targets = PublicSoftLabels(named, DenseSoftLabels(labels))

    _, (first, second) = planned(
        stack_of(5), task(plan(batch_size=4, soft_weight=0.25), soft_targets=targets), public_x=public_x
    )

    np.testing.assert_allclose(first["hard_weight"], [[0.1875] * 4 + [0] * 4])
    np.testing.assert_allclose(first["soft_weight"], [[0] * 4 + [0.25 / 3] * 3 + [0]])
    np.testing.assert_allclose(second["hard_weight"][0], [0.75] + [0] * 7)
    for step in (first, second):
        seen = {int(np.flatnonzero((labels == row).all(axis=1))[0]) for row in step["soft_labels"][0, 4:7]}
        assert seen == {0, 1, 2}
        for row in range(4, 7):
            which = int(np.flatnonzero((labels == step["soft_labels"][0, row]).all(axis=1))[0])
            np.testing.assert_array_equal(step["x"][0, row], public_x[named[which]])


def test_public_rows_are_walked_on_from_step_to_step() -> None:
    public_x, _ = examples(8, seed=5)
    labels = soft_rows(8)
    targets = PublicSoftLabels(np.arange(8), DenseSoftLabels(labels))
    training = plan(batch_size=2, soft_weight=0.5)

    _, filled = planned(stack_of(8), task(training, soft_targets=targets), public_x=public_x, shuffle=True)

    walked = np.concatenate([step["soft_labels"][0, 2:4] for step in filled])  # 4 steps of 2
    assert sorted(map(tuple, walked)) == sorted(map(tuple, labels))


def test_a_device_without_private_examples_learns_the_soft_part_only() -> None:
    public_x, _ = examples(6, seed=5)
    targets = PublicSoftLabels(np.arange(6), DenseSoftLabels(soft_rows(6)))

    steps, filled = planned(
        stack_of(0), task(plan(epochs=2, soft_weight=0.5), soft_targets=targets), public_x=public_x
    )

    assert steps.steps_of.tolist() == [4]  # ceil(6 / 4) batches of public examples, twice
    assert all(step["hard_weight"].max() == 0 for step in filled)
    np.testing.assert_allclose([step["soft_weight"].sum() for step in filled], [0.5] * 4)


def test_a_device_without_examples_and_without_public_ones_does_nothing() -> None:
    steps, filled = planned(stack_of(0), task(plan(epochs=3)))

    assert steps.steps == 0
    assert filled == []


def test_a_soft_weight_of_zero_is_plain_training() -> None:
    targets = ClassSoftLabels(np.arange(3), DenseSoftLabels(soft_rows(3)))

    _, plain = planned(stack_of(4), task(plan()))
    _, weightless = planned(stack_of(4), task(plan(soft_weight=0.0), soft_targets=targets))

    for name, array in plain[0].items():
        np.testing.assert_array_equal(array, weightless[0][name])


def test_missing_soft_targets_leave_plain_training_whatever_their_weight() -> None:
    _, (step,) = planned(stack_of(4), task(plan(soft_weight=0.7)))

    assert step["hard_weight"][0, :4].tolist() == [0.25] * 4
    assert step["soft_weight"].max() == 0


def test_top_k_soft_labels_reach_a_top_k_artifact_as_they_are() -> None:
    labels = TopKSoftLabels(np.array([[0, 2], [0, 1], [1, 2]]), soft_rows(3)[:, :2] * np.float32(0.9), 3)
    private = PrivateStack(np.zeros((1, 3, *SHAPE), np.float32), np.array([[2, 0, 1]]), np.array([3]))
    targets = ClassSoftLabels(np.arange(3), labels)

    _, (step,) = planned(private, task(plan(soft_weight=0.5), soft_targets=targets), soft_labels="top-k", k=2)

    assert step["soft_indices"][0, :3].tolist() == [[1, 2], [0, 2], [0, 1]]
    np.testing.assert_array_equal(step["soft_probabilities"][0, :3], labels.probabilities[[2, 0, 1]])


def test_top_k_soft_labels_are_spread_for_a_dense_artifact() -> None:
    labels = TopKSoftLabels(np.array([[1]]), np.array([[0.5]], np.float32), 3)
    targets = ClassSoftLabels(np.array([0]), labels)
    private = PrivateStack(np.zeros((1, 1, *SHAPE), np.float32), np.array([[0]]), np.array([1]))

    _, (step,) = planned(private, task(plan(soft_weight=0.5), soft_targets=targets))

    assert step["soft_labels"][0, 0].tolist() == [0.25, 0.5, 0.25]


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_device_gets_the_same_batches_alone_and_in_any_stack(shuffle: bool) -> None:
    public_x, _ = examples(10, seed=5)
    targets = PublicSoftLabels(np.arange(10), DenseSoftLabels(soft_rows(10)))
    round_task = task(plan(epochs=3, soft_weight=0.5), soft_targets=targets)
    private = stack_of(5, 23, 0, 9, 40)
    names = ["a", "b", "c", "d", "e"]
    steps, together = planned(private, round_task, names=names, public_x=public_x, shuffle=shuffle)

    for device, count in enumerate(private.counts):
        room = max(1, count)
        own = PrivateStack(
            private.x[device : device + 1, :room],
            private.labels[device : device + 1, :room],
            private.counts[device : device + 1],
        )
        alone_steps, alone = planned(
            own, round_task, names=[names[device]], public_x=public_x, shuffle=shuffle
        )
        assert alone_steps.steps_of[0] == steps.steps_of[device]
        for step, expected in enumerate(alone):
            assert together[step]["lr"][device] == expected["lr"][0]
            weights = [(together[step][n][device], expected[n][0]) for n in ("hard_weight", "soft_weight")]
            for got, wanted in weights:
                np.testing.assert_array_equal(got, wanted)
            used = (weights[0][0] > 0) | (weights[1][0] > 0)
            for name in ("x", "labels", "soft_labels"):
                np.testing.assert_array_equal(together[step][name][device, used], expected[name][0, used])
        assert all(step["lr"][device] == 0 for step in together[len(alone) :])


@pytest.mark.parametrize("kind", ["none", "class-means", "public-set"])
def test_stacks_planned_together_are_planned_as_each_alone(kind: str) -> None:
    private = stack_of(5, 3, 0, 12)
    names = device_ids(["a", "b", "c", "d"])
    targets = {
        "none": None,
        "class-means": ClassSoftLabels(np.array([0, 2]), DenseSoftLabels(soft_rows(2))),
        "public-set": PublicSoftLabels(np.array([4, 1, 3]), DenseSoftLabels(soft_rows(3))),
    }[kind]
    round_task = task(plan(epochs=2, soft_weight=0.5), soft_targets=targets)
    manifest = artifact(stack_size=2).manifest
    together = plan_stacks(private, names, round_task, manifest=manifest, public_x=examples(6)[0])
    assert len(together) == 2
    for number, found in enumerate(together):
        pair = slice(2 * number, 2 * number + 2)
        alone = plan_batches(
            PrivateStack(private.x[pair], private.labels[pair], private.counts[pair]),
            names[pair],
            round_task,
            manifest=manifest,
            public_x=examples(6)[0],
        )
        assert found.steps == alone.steps
        one, other = StepArrays.empty(manifest), StepArrays.empty(manifest)
        found.start(one)
        alone.start(other)
        for step in range(alone.steps):
            found.fill(step, one)
            alone.fill(step, other)
            weightless = (other.hard_weight == 0) & (other.soft_weight == 0)
            for name, array in other.inputs().items():
                same = one.inputs()[name] == array
                if same.shape[:2] == weightless.shape and "weight" not in name:
                    same |= weightless.reshape(*weightless.shape, *(1,) * (same.ndim - 2))
                assert same.all(), name


def test_the_last_of_several_stacks_must_be_full() -> None:
    with pytest.raises(ArtifactMismatch, match="devices in a stack 1"):
        plan_stacks(
            stack_of(4, 4, 4),
            device_ids(["a", "b", "c"]),
            task(),
            manifest=artifact(stack_size=2).manifest,
        )


def test_rows_of_a_shared_table_are_the_examples_themselves() -> None:
    table, _ = examples(12, seed=8)
    rows = np.array([[3, 11, 3], [0, 5, 0]])
    labels, counts = np.array([[0, 1, 2], [2, 1, 0]]), np.array([3, 2])

    _, named = planned(PrivateStack(table, labels, counts, rows=rows), task(plan(epochs=2)), shuffle=True)
    _, copied = planned(PrivateStack(table[rows], labels, counts), task(plan(epochs=2)), shuffle=True)

    for one, other in zip(named, copied, strict=True):
        for name, array in one.items():
            weighty = one["hard_weight"] > 0
            if array.shape[:2] == weighty.shape:
                np.testing.assert_array_equal(array[weighty], other[name][weighty])


@given(
    sizes=st.lists(st.integers(0, 13), min_size=2, max_size=2),
    epochs=st.integers(0, 3),
    batch_size=st.integers(1, 8),
)
def test_each_epoch_walks_each_private_example_once(sizes: list[int], epochs: int, batch_size: int) -> None:
    table = np.arange(13, dtype=np.float32)[:, None] * np.ones(SHAPE, np.float32)
    rows = np.tile(np.arange(13), (2, 1))
    private = PrivateStack(table, np.zeros((2, 13), np.int64), np.array(sizes), rows=rows)

    _, filled = planned(private, task(plan(epochs=epochs, batch_size=batch_size)), shuffle=True)

    for device, size in enumerate(sizes):
        seen = [
            row
            for step in filled
            for row in step["x"][device, step["hard_weight"][device] > 0, 0].astype(int).tolist()
        ]
        assert sorted(seen) == sorted(list(range(size)) * epochs)
        for epoch in range(epochs):
            assert sorted(seen[epoch * size : (epoch + 1) * size]) == list(range(size))


class TestRefusals:
    """A task that the artifact was not built for."""

    soft = ClassSoftLabels(np.arange(3), DenseSoftLabels(soft_rows(3)))

    def test_another_optimizer(self) -> None:
        with pytest.raises(ArtifactMismatch, match="optimizer adamw, the training artifact is for sgd"):
            planned(stack_of(3), task(plan(optimizer=Optimizer.ADAMW)))

    def test_another_family(self) -> None:
        with pytest.raises(ArtifactMismatch, match="family cnn"):
            planned(stack_of(3), task(family="cnn"))

    def test_too_large_a_batch(self) -> None:
        with pytest.raises(ArtifactMismatch, match="batch_size 9 takes 9 rows, the training artifact has 8"):
            planned(stack_of(3), task(plan(batch_size=9)))

    def test_too_large_a_mixed_batch(self) -> None:
        targets = PublicSoftLabels(np.arange(3), DenseSoftLabels(soft_rows(3)))
        with pytest.raises(ArtifactMismatch, match="step_rows=10"):
            planned(
                stack_of(3),
                task(plan(batch_size=5, soft_weight=0.5), soft_targets=targets),
                public_x=examples(3)[0],
            )

    def test_soft_labels_for_an_artifact_that_reads_none(self) -> None:
        with pytest.raises(ArtifactMismatch, match="reads none"):
            planned(stack_of(3), task(plan(soft_weight=0.5), soft_targets=self.soft), soft_labels="none")

    def test_dense_soft_labels_for_a_top_k_artifact(self) -> None:
        with pytest.raises(ArtifactMismatch, match="dense soft labels, the training artifact reads top-2"):
            planned(
                stack_of(3), task(plan(soft_weight=0.5), soft_targets=self.soft), soft_labels="top-k", k=2
            )

    def test_soft_labels_of_other_classes(self) -> None:
        targets = ClassSoftLabels(np.arange(3), DenseSoftLabels(soft_rows(3, classes=4)))
        with pytest.raises(ArtifactMismatch, match="4 classes; the student has 3"):
            planned(stack_of(3), task(plan(soft_weight=0.5), soft_targets=targets))

    def test_public_rows_that_the_device_does_not_have(self) -> None:
        targets = PublicSoftLabels(np.array([0, 99]), DenseSoftLabels(soft_rows(2)))
        round_task = task(plan(soft_weight=0.5), soft_targets=targets)
        with pytest.raises(FedstillError, match=r"public row 99, this device's public set has 5 rows"):
            planned(stack_of(3), round_task, public_x=examples(5)[0])
        with pytest.raises(FedstillError, match=r"add public\.npz"):
            planned(stack_of(3), round_task)

    def test_examples_of_another_shape(self) -> None:
        private = PrivateStack(np.zeros((1, 2, 7), np.float32), np.zeros((1, 2), np.int64), np.array([2]))
        with pytest.raises(
            ArtifactMismatch, match=r"input shape \(7,\), the training artifact is for \(6,\)"
        ):
            planned(private, task())


class TestPrivateStack:
    """What a private stack refuses to hold."""

    def test_counts_beyond_its_room(self) -> None:
        with pytest.raises(FedstillError, match="from 4 to 4, of 3"):
            PrivateStack(np.zeros((1, 3, 2), np.float32), np.zeros((1, 3), np.int64), np.array([4]))

    def test_examples_without_labels(self) -> None:
        with pytest.raises(FedstillError, match=r"shape \(1, 3, 2\); their labels \(1, 2\)"):
            PrivateStack(np.zeros((1, 3, 2), np.float32), np.zeros((1, 2), np.int64), np.array([2]))

    def test_rows_beyond_the_table(self) -> None:
        with pytest.raises(FedstillError, match="reach to 3; the table has 3 rows"):
            PrivateStack(
                np.zeros((3, 2), np.float32),
                np.zeros((1, 2), np.int64),
                np.array([2]),
                rows=np.array([[0, 3]]),
            )

    def test_doubles(self) -> None:
        with pytest.raises(FedstillError, match="float64; give float32"):
            PrivateStack(np.zeros((1, 3, 2)), np.zeros((1, 3), np.int64), np.array([2]))  # type: ignore[arg-type]
