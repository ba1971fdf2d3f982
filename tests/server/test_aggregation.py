"""Sums over devices: the sum of the parts is the whole, in any order and any tree."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from fedstill_proto.messages import PrivateStatistics
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels
from fedstill_server.consensus.aggregation import DeviceCount, FamilySums, RowSums, fold
from hypothesis import given
from hypothesis import strategies as st

CLASSES = 3


def class_statistics(rng: np.random.Generator) -> PrivateStatistics:
    present = np.flatnonzero(rng.random(CLASSES) < 0.6)
    labels = rng.dirichlet(np.ones(CLASSES), len(present)).astype(np.float32)
    return PrivateStatistics(
        soft_labels=DenseSoftLabels(labels.reshape(len(present), CLASSES)),
        present_classes=present.astype(np.int64),
        class_examples=rng.integers(1, 50, len(present)),
    )


def student_statistics(rng: np.random.Generator) -> PrivateStatistics:
    weights = {"hidden.weight": rng.normal(size=(2, 3)).astype(np.float32)}
    return PrivateStatistics(parameters=weights, examples=int(rng.integers(0, 20)))


def class_part(rng: np.random.Generator) -> RowSums:
    return RowSums.of_class_means(class_statistics(rng), classes=CLASSES)


def row_part(rng: np.random.Generator) -> RowSums:
    return RowSums.of_rows(rng.normal(size=(CLASSES, CLASSES)))


def student_part(rng: np.random.Generator) -> FamilySums:
    return FamilySums.of(str(rng.choice(["mlp-small", "cnn"])), student_statistics(rng))


KINDS: dict[str, tuple[Any, Any]] = {
    "class means": (class_part, RowSums.zero(CLASSES, CLASSES)),
    "public rows": (row_part, RowSums.zero(CLASSES, CLASSES)),
    "students": (student_part, FamilySums()),
    "answers": (lambda rng: DeviceCount(1), DeviceCount()),
}


def assert_same(one: dict[str, npt.NDArray[Any]], other: dict[str, npt.NDArray[Any]]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_allclose(array, other[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 2**32), count=st.integers(0, 9), cut=st.integers(0, 9), data=st.data())
def test_parts_make_the_whole_in_any_order(kind: str, seed: int, count: int, cut: int, data: Any) -> None:
    make, zero = KINDS[kind]
    rng = np.random.default_rng(seed)
    parts = [make(rng) for _ in range(count)]
    whole = fold(parts, zero)
    shuffled = data.draw(st.permutations(parts))

    assert whole.devices == count
    assert_same(fold(shuffled, zero).arrays(), whole.arrays())
    assert_same((fold(parts[:cut], zero) + fold(parts[cut:], zero)).arrays(), whole.arrays())
    assert_same((whole + zero).arrays(), whole.arrays())
    assert_same((zero + whole).arrays(), whole.arrays())
    halves = [part.weighted(0.5) for part in parts]
    assert fold(halves, zero).devices == count
    assert_same(fold(halves, zero).arrays(), whole.weighted(0.5).arrays())


def test_class_means_count_once_whatever_examples_are_claimed() -> None:
    def device(examples: int, row: list[float]) -> RowSums:
        return RowSums.of_class_means(
            PrivateStatistics(
                soft_labels=DenseSoftLabels(np.array([row], np.float32)),
                present_classes=np.array([1]),
                class_examples=np.array([examples]),
            ),
            classes=3,
        )

    mean = (device(2**32 - 1, [0, 1, 0]) + device(1, [1, 0, 0])).result()

    np.testing.assert_allclose(mean, [[0, 0, 0], [0.5, 0.5, 0], [0, 0, 0]])


def test_students_are_averaged_within_their_family() -> None:
    def device(family: str, value: float, examples: int) -> FamilySums:
        student = {"w": np.full(2, value, np.float32)}
        return FamilySums.of(family, PrivateStatistics(parameters=student, examples=examples))

    result = (device("cnn", 1, 1) + device("cnn", 5, 2**32 - 1) + device("mlp-small", 7, 2)).result()

    assert result["cnn"]["w"].tolist() == [3, 3]
    assert result["mlp-small"]["w"].tolist() == [7, 7]
    assert result["cnn"]["w"].dtype == np.float32


def test_a_family_whose_devices_have_no_examples_has_no_average() -> None:
    empty = PrivateStatistics(parameters={"w": np.ones(1, np.float32)}, examples=0)
    assert FamilySums.of("cnn", empty).result() == {}


def test_a_row_that_nobody_answered_is_zero() -> None:
    assert not RowSums.zero(2, 3).result().any()


def test_a_weight_of_a_third_counts_a_third_in_every_mean() -> None:
    def student(value: float) -> FamilySums:
        statistics = PrivateStatistics(parameters={"w": np.full(1, value, np.float32)}, examples=6)
        return FamilySums.of("cnn", statistics)

    rows = RowSums.of_rows(np.array([[1.0, 5.0]])) + RowSums.of_rows(np.array([[5.0, 1.0]])).weighted(1 / 3)
    students = student(1) + student(5).weighted(1 / 3)

    np.testing.assert_allclose(rows.result(), [[2, 4]])
    np.testing.assert_allclose(students.result()["cnn"]["w"], [2])
    assert (rows.devices, students.devices) == (2, 2)
    assert (rows.freshness, students.freshness) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert (rows + rows.weighted(0.0)).freshness == pytest.approx(1 / 3)


def test_devices_that_answered_different_rows_add_up() -> None:
    one = RowSums.at_places(np.array([[1.0, 3.0]]), np.array([1]), of=3)
    other = RowSums.at_places(np.array([[3.0, 5.0], [7.0, 9.0]]), np.array([1, 2]), of=3)
    assert (one + other).result().tolist() == [[0, 0], [2, 4], [7, 9]]
    assert (one + other).devices == 2
