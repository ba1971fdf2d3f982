"""Features in a form that all students share, and the prototypes of a device's classes."""

from __future__ import annotations

import numpy as np
import pytest
from fedstill_client.model.forward import Forward
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.rounds.relative_features import class_prototypes, relative_features
from fedstill_client.rounds.summarizer import summarize
from fedstill_client.rounds.trained_stack import TrainedStack
from fedstill_proto.arrays import FloatArray
from fedstill_proto.codec.api import Expected, decode_summary
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import (
    Optimizer,
    PrivateStatistics,
    RoundTask,
    SummaryKind,
    SummaryRequest,
)
from fedstill_proto.package.artifact import TrainingArtifact
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_server.export import ArtifactOptions, build_artifact

from tests.client.samples import CLASSES, FAMILY, SHAPE, artifact, examples, plan, stack_of, student, task

FLOAT32 = SoftLabelCodec(Encoding.FLOAT32)
ANCHORS = np.array([3, 0, 7])
# Four examples of two features; the middle of the two anchors is (1, 1).
FEATURES = np.array([[2, 1], [1, 3], [1, 1], [0, 0]], np.float32)
TWO = np.array([[2, 1], [0, 1]], np.float32)


def test_relative_features_are_cosines_about_the_middle_of_the_anchors() -> None:
    half = np.sqrt(0.5)
    wanted = [[1, -1], [0, 0], [0, 0], [-half, half]]
    np.testing.assert_allclose(relative_features(FEATURES, TWO), wanted, atol=1e-6)


def test_features_that_are_turned_scaled_or_moved_stay_the_same() -> None:
    rng = np.random.default_rng(0)
    features, anchors = (rng.normal(size=(n, 6)).astype(np.float32) for n in (9, 4))
    turned = np.linalg.qr(rng.normal(size=(6, 6)))[0].astype(np.float32) * 3
    before = relative_features(features, anchors)
    after = relative_features(features @ turned + 1, anchors @ turned + 1)
    np.testing.assert_allclose(after, before, atol=1e-5)
    assert np.abs(before).max() <= 1


def test_a_prototype_is_the_mean_of_its_class() -> None:
    relative = np.array([[1, 0], [0, 1], [0.5, 0]], np.float32)
    present, counts, prototypes = class_prototypes(relative, np.array([2, 0, 2]))
    assert (present.tolist(), counts.tolist()) == ([0, 2], [1, 2])
    assert prototypes.tolist() == [[0, 1], [0.75, 0]]


def with_features(stack_size: int = 1) -> TrainingArtifact:
    return build_artifact(
        ArtifactOptions(
            family=FAMILY,
            input_shape=SHAPE,
            classes=CLASSES,
            optimizer=Optimizer.SGD,
            soft_labels="none",
            stack_size=stack_size,
            step_rows=4,
            features=True,
        ),
        verify=False,
    )


def answers(request: SummaryRequest, private: PrivateStack, *seeds: int) -> list[PrivateStatistics]:
    asked: RoundTask = task(plan(temperature=2.0), request=request)
    students = [student(seed) for seed in seeds]
    stacked = {name: np.stack([one[name] for one in students]) for name in students[0]}
    blobs = summarize(
        asked,
        TrainedStack(stacked, private, Forward(with_features(len(seeds))), examples(10, seed=5)[0]),
        devices=len(seeds),
    )
    return [decode_summary(blob.summary, expected=Expected.of(asked, CLASSES)).statistics for blob in blobs]


def hidden(seed: int, x: FloatArray) -> FloatArray:
    own = student(seed)
    return np.maximum(x @ own["hidden.weight"].T + own["hidden.bias"], 0)


def test_prototypes_are_made_of_the_student_s_own_features() -> None:
    private = stack_of(20, 0)
    request = SummaryRequest(SummaryKind.CLASS_PROTOTYPES, anchor_rows=ANCHORS)

    one, none = answers(request, private, 1, 2)

    public_x, x, labels = examples(10, seed=5)[0], private.x[0, :20], private.labels[0, :20]
    relative = relative_features(hidden(1, x), hidden(1, public_x[ANCHORS]))
    wanted = np.stack([relative[labels == label].mean(axis=0) for label in one.present_classes])
    assert one.features is not None
    np.testing.assert_allclose(one.features, wanted, atol=0.5 / 127 + 1e-5)
    assert one.class_examples.sum() == 20
    assert none.features is not None
    assert none.features.shape == (0, 3)


def test_class_means_and_public_rows_may_come_with_features() -> None:
    private = stack_of(12, 5)
    means = answers(SummaryRequest(SummaryKind.CLASS_MEANS, FLOAT32, anchor_rows=ANCHORS), private, 1, 2)
    alone = answers(SummaryRequest(SummaryKind.CLASS_PROTOTYPES, anchor_rows=ANCHORS), private, 1, 2)
    for both, prototypes in zip(means, alone, strict=True):
        assert both.features is not None
        assert both.soft_labels is not None
        assert both.soft_labels.rows == len(both.features) == len(both.present_classes)
        np.testing.assert_array_equal(both.features, prototypes.features)
    rows = np.array([1, 4])
    (public, _) = answers(
        SummaryRequest(SummaryKind.PUBLIC_SET, FLOAT32, rows, anchor_rows=ANCHORS), private, 1, 2
    )
    public_x = examples(10, seed=5)[0]
    wanted = relative_features(hidden(1, public_x[rows]), hidden(1, public_x[ANCHORS]))
    assert public.features is not None
    np.testing.assert_allclose(public.features, wanted, atol=0.5 / 127 + 1e-5)


def test_an_artifact_without_features_is_refused() -> None:
    request = SummaryRequest(SummaryKind.CLASS_PROTOTYPES, anchor_rows=ANCHORS)
    with pytest.raises(FedstillError, match="rebuild it with them"):
        summarize(
            task(request=request),
            TrainedStack(
                {name: array[None] for name, array in student().items()},
                stack_of(3),
                Forward(artifact()),
                examples(10)[0],
            ),
            devices=1,
        )
