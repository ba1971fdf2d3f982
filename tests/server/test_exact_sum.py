"""Sums are exact: the same bits in any order and any grouping, and those of the sum rounded once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from fedstill_proto.soft_labels.label_arrays import TopKSoftLabels
from fedstill_server.consensus.aggregation import (
    Both,
    ClassVectors,
    DeviceCount,
    FamilySums,
    ParameterSum,
    RowSums,
    VoteSums,
    fold,
)
from fedstill_server.consensus.exact_sum import ExactFold
from fedstill_server.consensus.folds.answers import MOST_DEVICES, Answers
from fedstill_server.consensus.folds.norms import Norms
from fedstill_server.consensus.superaccumulator import ExactSum
from fedstill_server.methods.word_sums import WordSums
from hypothesis import given
from hypothesis import strategies as st

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=64)
USUAL = st.floats(-8, 8, width=64)


def sum_of(numbers: list[float]) -> float:
    total = ExactSum(())
    for number in numbers:
        total.add(np.array(number))
    return float(total.result())


@pytest.mark.parametrize(
    ("numbers", "right"),
    [
        ([], 0.0),
        ([0.1] * 10, 1.0),  # 0.9999999999999999, one after the other
        ([1e100, 1.0, -1e100], 1.0),
        ([1e38, 1e-38, -1e38], 1e-38),
        ([1.0, 2.0**-53], 1.0),  # a tie goes to the even one
        ([1.0, 2.0**-53, 2.0**-1000], 1.0 + 2.0**-52),  # and what is beyond it breaks the tie
        ([1.0, 2.0**-53, 2.0**-1074], 1.0 + 2.0**-52),
        ([1.0 + 2.0**-52, 2.0**-53, -(2.0**-1074)], 1.0 + 2.0**-52),
        ([5e-324] * 3, 1.5e-323),
        ([1.7e308, 1.7e308, -1.7e308], 1.7e308),
        ([1.7e308, 1.7e308], math.inf),
        ([-1.7e308, -1.7e308], -math.inf),
        ([math.inf, 1.0, -1e300], math.inf),
        ([-0.0, -0.0], 0.0),
    ],
)
def test_a_sum_is_rounded_once(numbers: list[float], right: float) -> None:
    assert sum_of(numbers) == right
    assert sum_of(numbers[::-1]) == right
    assert math.copysign(1, sum_of(numbers)) == math.copysign(1, right)


def test_what_is_no_number_makes_the_sum_none() -> None:
    assert math.isnan(sum_of([1.0, math.nan]))
    assert math.isnan(sum_of([math.inf, 2.0, -math.inf]))


@given(st.lists(st.one_of(FINITE, USUAL), max_size=40))
def test_it_is_the_sum_of_fsum(numbers: list[float]) -> None:
    try:
        right = math.fsum(numbers)
    except OverflowError:  # of a part of the sum
        return
    assert sum_of(numbers).hex() == (right + 0.0).hex()


@given(st.data())
def test_arrays_are_added_up_exactly_in_any_groups(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    spread = data.draw(st.sampled_from([0, 3, 30, 300]))
    arrays = rng.normal(size=(data.draw(st.integers(1, 600)), 2, 3))
    arrays = np.ldexp(arrays, rng.integers(-spread, spread + 1, arrays.shape))
    right = np.array([[math.fsum(arrays[:, i, j]) for j in range(3)] for i in range(2)])

    groups = np.array_split(arrays, sorted(data.draw(st.lists(st.integers(0, len(arrays)), max_size=4))))
    sums = []
    for group in groups:
        one = ExactSum((2, 3))
        if data.draw(st.booleans()):
            one.add_stack(group)
        else:
            for array in group:
                one.add(array)
        sums.append(ExactSum.from_arrays(one.to_arrays()) if data.draw(st.booleans()) else one)
    whole = ExactSum((2, 3))
    for one in data.draw(st.permutations(sums)):
        whole.merge(one)

    assert whole.result().tobytes() == right.tobytes()


def test_bins_hold_more_pieces_than_fit_into_one() -> None:
    """Each is as much as a bin may hold of one; what is over goes to the next."""
    largest = 2.0**11 - 2.0**-42
    total, parts = ExactSum((2,)), []
    for _ in range(8):
        parts.append(ExactSum((2,)))
        parts[-1].add_stack(np.tile([largest, -largest], (1000, 1)))
    for part in parts * 8:
        total.merge(part)
    assert total.result().tolist() == [64_000 * largest, -64_000 * largest]  # 64,000 is 125 times 2^9


def test_arrays_wider_than_a_block() -> None:
    arrays = np.random.default_rng(0).normal(size=(3, 40_000))
    total = ExactSum((40_000,))
    for array in arrays:
        total.add(array)
    assert total.result()[::97].tolist() == [math.fsum(column) for column in arrays.T[::97]]


def test_a_sum_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(3,\) is not one of \(2,\)"):
        ExactSum((2,)).add(np.zeros(3))
    with pytest.raises(ValueError, match=r"shape \(3,\) is not one of \(2,\)"):
        ExactSum((2,)).merge(ExactSum((3,)))


def rows(rng: np.random.Generator) -> RowSums:
    places = np.flatnonzero(rng.random(5) < 0.6)
    return RowSums.at_places(rng.normal(size=(len(places), 3)), places, of=5).weighted(rng.choice([1, 1 / 3]))


def votes(rng: np.random.Generator) -> VoteSums:
    return VoteSums.at_places(rng.dirichlet(np.ones(3), 4), rng.random((4, 3)), np.arange(4), of=4)


def students(rng: np.random.Generator) -> FamilySums:
    names = rng.permutation(["cnn", "control/cnn", "own:Part", "9:cnn"])[: rng.integers(1, 4)]
    families = {
        str(name): ParameterSum({"w/1": rng.normal(size=2), "b": rng.normal(size=(1, len(name)))}, 1.0)
        for name in names
    }
    return FamilySums(families, 1).weighted(rng.choice([1, 1 / 3]))


def vectors(rng: np.random.Generator) -> ClassVectors:
    return ClassVectors(rng.normal(size=(2, 3)), rng.integers(0, 2, 2), rng.random(2), 1)


def student_answers(rng: np.random.Generator) -> Answers:
    return Answers.of(students(rng))


def row_answers(rng: np.random.Generator) -> Answers:
    return Answers.of(rows(rng))


def norms(rng: np.random.Generator) -> Norms:
    return Norms.of_students(students(rng))


def words(rng: np.random.Generator) -> WordSums:
    places = np.flatnonzero(rng.random(4) < 0.6)
    indices = np.sort(rng.permuted(np.tile(np.arange(5), (len(places), 1)), axis=1)[:, :2], axis=1)
    said = rng.dirichlet(np.ones(3), len(places))[:, :2].reshape(len(places), 2).astype(np.float32)
    named = WordSums.of(TopKSoftLabels(indices, said, 5), places, of=4)
    return named.weighted(rng.choice([1, 1 / 3]))


KINDS: dict[str, tuple[Any, Any]] = {
    "devices": (DeviceCount(), lambda rng: DeviceCount(1)),
    "rows": (RowSums.zero(5, 3), rows),
    "votes": (VoteSums.zero(4, 3), votes),
    "students": (FamilySums(), students),
    "vectors": (ClassVectors.zero(3), vectors),
    "row answers": (Answers(), row_answers),
    "student answers": (Answers(), student_answers),
    "norms": (Norms(), norms),
    "words": (WordSums.zero(places=4, words=5), words),
    "two": (Both(VoteSums.zero(4, 3), Answers()), lambda rng: Both(votes(rng), row_answers(rng))),
}


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_every_kind_is_the_same_in_any_groups(kind: str, data: st.DataObject) -> None:
    zero, make = KINDS[kind]
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    parts = [make(rng) for _ in range(data.draw(st.integers(0, 9)))]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(parts)), min_size=2, max_size=2)))
    folds = []
    for group in (parts[: cuts[0]], parts[cuts[0] : cuts[1]], parts[cuts[1] :]):
        one = ExactFold(zero)
        for part in data.draw(st.permutations(group)):
            one.add(part)
        folds.append(ExactFold.from_arrays(zero, one.to_arrays()) if data.draw(st.booleans()) else one)
    whole = ExactFold(zero)
    for one in data.draw(st.permutations(folds)):
        whole.merge(one)

    assert ExactFold.is_exact(zero)
    assert_same_bits(whole.result(), fold(parts, zero))
    added = zero
    for part in parts:
        added = added + part
    assert_close(added, fold(parts, zero))


def assert_same_bits(one: Any, other: Any) -> None:
    assert (type(one), one.devices) == (type(other), other.devices)
    assert getattr(one, "aged", None) == getattr(other, "aged", None)
    left, right = one.arrays(), other.arrays()
    assert left.keys() == right.keys()
    for name, array in left.items():
        assert (array.shape, array.tobytes()) == (right[name].shape, right[name].tobytes()), name


def assert_close(one: Any, other: Any) -> None:
    assert (type(one), one.devices) == (type(other), other.devices)
    left, right = one.arrays(), other.arrays()
    assert left.keys() == right.keys()
    for name, array in left.items():
        np.testing.assert_allclose(array, right[name], rtol=1e-12, atol=1e-12)


def test_more_answers_than_are_kept_are_the_same_in_any_groups() -> None:
    parts = [Answers.of(RowSums.of_rows(np.array([[float(one)]]))) for one in range(3 * MOST_DEVICES)]
    serial = fold(parts, Answers())
    whole = ExactFold(Answers())
    for start in range(0, len(parts), 700):
        part = ExactFold(Answers())
        for one in parts[start : start + 700][::-1]:
            part.add(one)
        whole.merge(ExactFold.from_arrays(Answers(), part.to_arrays()))
    assert_same_bits(whole.result(), serial)
    assert [one.digest for one in serial.kept] == [
        one.digest
        for one in sorted((one for part in parts for one in part.kept), key=lambda one: one.digest)[
            :MOST_DEVICES
        ]
    ]


def test_a_worker_leaves_out_what_cannot_be_kept() -> None:
    parts = [Answers.of(RowSums.of_rows(np.array([[float(one)]]))) for one in range(4 * MOST_DEVICES)]
    whole, memory, travelled = ExactFold(Answers()), dict[str, Any](), 0
    groups = [parts[start : start + 64] for start in range(0, len(parts), 64)]
    lost = ExactFold(Answers())  # made once more, since its worker was lost
    for group in (groups[3], *groups):
        part = ExactFold(Answers())
        part.add_all(group)
        part.trim(memory)
        arrays = part.to_arrays()
        if group is groups[3] and not lost.result().devices:
            lost.merge_arrays(arrays)
            continue
        travelled += len(arrays["digests"])
        whole.merge_arrays(arrays)
    assert_same_bits(whole.result(), fold(parts, Answers()))
    assert MOST_DEVICES < travelled < 3 * MOST_DEVICES  # 512 (1 + ln 4) are to be expected


@dataclass(frozen=True)
class Largest:
    """An own kind that has nothing but `+`."""

    most: float = 0.0
    devices: int = 0

    def __add__(self, other: Largest) -> Largest:
        return Largest(max(self.most, other.most), self.devices + other.devices)

    def weighted(self, weight: float) -> Largest:
        return self

    def arrays(self) -> dict[str, np.ndarray]:
        return {"most": np.array(self.most)}


def test_an_own_kind_that_has_only_a_sum_is_added_up_in_one_place() -> None:
    assert fold([Largest(2.0, 1), Largest(1.0, 1)], Largest()) == Largest(2.0, 2)
    assert not ExactFold.is_exact(Largest())
    assert not ExactFold.is_exact(Both(DeviceCount(), Largest()))
    with pytest.raises(NotImplementedError, match="Largest: it has no summands"):
        ExactFold(Largest()).to_arrays()
