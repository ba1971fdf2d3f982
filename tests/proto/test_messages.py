from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest
from fedstill_proto.arrays import ParameterSpec
from fedstill_proto.errors import FedstillError, InvalidValue, WireError
from fedstill_proto.messages import (
    ClassSoftLabels,
    PrivateStatistics,
    PublicSoftLabels,
    RowSelection,
    SoftLabelSummary,
    SummaryKind,
    SummaryRequest,
)
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels

from tests.proto.wire_samples import PLAN, THREE_CLASSES, UINT8, class_task, parameter_summary

LABELS = DenseSoftLabels(THREE_CLASSES)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", -1),
        ("epochs", 1.5),
        ("batch_size", 0),
        ("learning_rate", -0.1),
        ("learning_rate", float("nan")),
        ("optimizer", "sgd"),
        ("temperature", 0),
        ("temperature", float("inf")),
        ("soft_weight", 1.01),
        ("soft_weight", "half"),
        ("seed", 2**64),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_not_made(name: str, value: Any) -> None:
    with pytest.raises(InvalidValue) as caught:
        dataclasses.replace(PLAN, **{name: value})
    assert caught.value.field == name


def test_an_error_says_what_was_wrong() -> None:
    with pytest.raises(FedstillError, match=r"^temperature: 0 is not a number in 0\.001 to 1000$"):
        dataclasses.replace(PLAN, temperature=0)


@pytest.mark.parametrize("name", ["", "a/b", "..\\b", ".hidden", "x" * 201, "line\nbreak", "naïve", 7])
def test_names_hold_nothing_that_a_path_could_mean(name: Any) -> None:
    for field in ("run", "family"):
        with pytest.raises(InvalidValue, match=f"^{field}: "):
            dataclasses.replace(class_task(), **{field: name})
    with pytest.raises(InvalidValue, match=r"^name: "):
        ParameterSpec(name, (1,))


def test_public_labels_need_a_row_each() -> None:
    for rows in ([0, 1], [0, 1, 1], [-1, 0, 1], [0, 1, 2**32]):
        with pytest.raises(InvalidValue):
            PublicSoftLabels(np.array(rows, np.int64), LABELS)
    PublicSoftLabels(np.array([9, 0, 4], np.int64), LABELS)


def test_class_labels_need_increasing_classes() -> None:
    for classes in ([0, 1], [0, 1, 1], [-1, 0, 1], [0, 1, 3], [2, 1, 0]):
        with pytest.raises(InvalidValue):
            ClassSoftLabels(np.array(classes, np.int64), LABELS)
    ClassSoftLabels(np.array([0, 1, 2], np.int64), LABELS)


def test_a_request_asks_for_what_its_kind_needs() -> None:
    rows = np.arange(3, dtype=np.int64)
    for kind, codec, public_rows in [
        ("none", None, rows[:0]),
        (SummaryKind.NONE, UINT8, rows[:0]),
        (SummaryKind.CLASS_MEANS, None, rows[:0]),
        (SummaryKind.CLASS_MEANS, UINT8, rows),
        (SummaryKind.PUBLIC_SET, UINT8, rows[:0]),
        (SummaryKind.PARAMETERS, None, rows),
    ]:
        with pytest.raises(InvalidValue):
            SummaryRequest(kind, codec, public_rows)  # type: ignore[arg-type]
    SummaryRequest(SummaryKind.PUBLIC_SET, UINT8, rows)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(2),
        np.zeros(2, np.int64),
        np.array([np.nan], np.float32),
        np.zeros((0, 2), np.float32),
        np.zeros((1,) * 9, np.float32),
    ],
)
def test_parameters_that_cannot_be_sent_are_refused(array: Any) -> None:
    with pytest.raises(InvalidValue):
        PrivateStatistics(parameters={"w": array})


def test_a_summary_holds_what_its_kind_says_and_nothing_else() -> None:
    weights = parameter_summary().statistics
    present = np.arange(3, dtype=np.int64)
    means = PrivateStatistics(soft_labels=LABELS, present_classes=present, class_examples=present + 1)
    for kind, statistics in [
        (SummaryKind.NONE, weights),
        (SummaryKind.NONE, PrivateStatistics(examples=1)),
        (SummaryKind.NONE, means),
        (SummaryKind.PUBLIC_SET, PrivateStatistics(LABELS, present + 1, present + 1)),
        (SummaryKind.PUBLIC_SET, PrivateStatistics()),
        (SummaryKind.CLASS_MEANS, PrivateStatistics(soft_labels=LABELS)),
        (SummaryKind.PARAMETERS, means),
        (SummaryKind.CLASS_MEANS, PrivateStatistics(LABELS, present, present + 1, answered=np.ones(3, bool))),
        (SummaryKind.PARAMETERS, PrivateStatistics()),
    ]:
        with pytest.raises(InvalidValue, match=r"^statistics\."):
            SoftLabelSummary("run", 1, "cnn", kind, statistics)
    SoftLabelSummary("run", 1, "cnn", SummaryKind.CLASS_MEANS, means)
    SoftLabelSummary("run", 1, "cnn", SummaryKind.PUBLIC_SET, means)  # soft labels with class counts


def test_as_many_soft_labels_as_rows_are_answered() -> None:
    PrivateStatistics(LABELS, answered=np.array([True, False, True, True]))
    for answered in (np.ones(2, bool), np.ones(3), np.ones((3, 1), bool)):
        with pytest.raises(InvalidValue, match=r"^answered"):
            PrivateStatistics(LABELS, answered=answered)


@pytest.mark.parametrize(("density", "ambiguity"), [(-1, 1), (0, 1.5), (float("nan"), 1), (1e9, 0)])
def test_a_selection_has_bounds(density: float, ambiguity: float) -> None:
    with pytest.raises(InvalidValue):
        RowSelection(density, ambiguity)


def test_only_public_rows_are_selected_and_counted() -> None:
    for extra in ({"class_counts": True}, {"selection": RowSelection()}):
        with pytest.raises(InvalidValue, match=next(iter(extra))):
            SummaryRequest(SummaryKind.CLASS_MEANS, UINT8, **extra)


def test_features_are_asked_of_whom_they_can_be_had() -> None:
    anchors, rows = np.arange(4, dtype=np.int64), np.arange(2, dtype=np.int64)
    SummaryRequest(SummaryKind.CLASS_PROTOTYPES, anchor_rows=anchors)
    SummaryRequest(SummaryKind.CLASS_MEANS, UINT8, anchor_rows=anchors)
    SummaryRequest(SummaryKind.PUBLIC_SET, UINT8, rows, anchor_rows=anchors)
    for kind, wrong in [
        (SummaryKind.NONE, anchors),
        (SummaryKind.PARAMETERS, anchors),
        (SummaryKind.CLASS_PROTOTYPES, anchors[:0]),
        (SummaryKind.CLASS_PROTOTYPES, np.zeros(2, np.int64)),
        (SummaryKind.CLASS_PROTOTYPES, np.arange(1025, dtype=np.int64)),
    ]:
        with pytest.raises(InvalidValue, match=r"^anchor_rows"):
            SummaryRequest(kind, anchor_rows=wrong)


@pytest.mark.parametrize(
    "features", [np.zeros((1, 2)), np.zeros(2, np.float32), np.full((1, 2), 1.5, np.float32), [[0.0]]]
)
def test_features_are_cosines(features: Any) -> None:
    with pytest.raises(InvalidValue, match=r"^features"):
        PrivateStatistics(features=features)


def test_prototypes_need_features_and_one_row_a_class() -> None:
    present = np.arange(3, dtype=np.int64)
    for features in (None, np.zeros((2, 4), np.float32)):
        statistics = PrivateStatistics(present_classes=present, class_examples=present + 1, features=features)
        with pytest.raises(InvalidValue, match=r"^statistics\.features"):
            SoftLabelSummary("run", 1, "cnn", SummaryKind.CLASS_PROTOTYPES, statistics)
    nothing = PrivateStatistics(features=np.zeros((0, 4), np.float32))
    with pytest.raises(InvalidValue, match=r"^statistics\.features"):
        SoftLabelSummary("run", 1, "cnn", SummaryKind.NONE, nothing)


def test_errors_cross_process_borders() -> None:
    error = pickle.loads(pickle.dumps(WireError("round", "4, expected 3")))
    assert isinstance(error, WireError)
    assert (error.field, error.problem, str(error)) == ("round", "4, expected 3", "round: 4, expected 3")
