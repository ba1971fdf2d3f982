"""What is computed of several devices at once is, bit for bit, what is computed of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from fedstill_proto.messages import PrivateStatistics, SoftLabelSummary
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels
from fedstill_server.consensus.aggregation import RowSums
from fedstill_server.consensus.folds.interface import RowLabels
from fedstill_server.consensus.folds.norms import Norms
from fedstill_server.consensus.folds.trust import Trust
from fedstill_server.consensus.row_stack import RowStack, stacks
from fedstill_server.methods.fedstill import Fedstill
from fedstill_server.rounds.partial_fold import PartialFold, settled
from fedstill_server.state import FleetState, digest_of

from benchmarks.fold_cost import CLASSES, OneByOne, bound, drawn

FOLDS = ("vetted", "trust", "clipped", "nearest", "trimmed", "median", "mean")


def hostile(one: SoftLabelSummary, place: int) -> SoftLabelSummary:
    """Answers that are all one class, even, or nothing but a row."""
    soft = one.statistics.soft_labels
    assert soft is not None
    values = np.full((soft.rows, CLASSES), 1 / CLASSES, np.float32)
    if place % 3 == 0:
        values[:] = np.eye(CLASSES, dtype=np.float32)[place % CLASSES]
    elif place % 3 == 1:
        values[7] = np.eye(CLASSES, dtype=np.float32)[place % CLASSES]
    return dataclasses.replace(one, statistics=PrivateStatistics(soft_labels=DenseSoftLabels(values)))


@pytest.mark.parametrize("fold", ["own-class", "mean", "median"])
def test_a_stack_of_class_means_is_each_of_its_devices(fold: str) -> None:
    method, state = bound("class-logits", fold)
    summaries = drawn(method, 37)
    one_by_one = consensus_of(OneByOne(method, state), method, summaries)
    assert consensus_of(PartialFold(method, state, 1), method, summaries) == one_by_one


def consensus_of(part: Any, method: Fedstill, summaries: Sequence[SoftLabelSummary]) -> str:
    known = part.norms(summaries).result()
    total = settled(method, part.fold(summaries, known), round_number=1)
    assert total.devices == len(summaries)
    return digest_of({**total.arrays(), **{f"norms/{key}": one for key, one in known.arrays().items()}})


@pytest.mark.parametrize("devices", [1, 16, 37])
@pytest.mark.parametrize("fold", FOLDS)
def test_a_stack_is_each_of_its_devices(fold: str, devices: int) -> None:
    method, state = bound("fedstill", fold)
    summaries = drawn(method, devices)
    summaries[5:20] = [hostile(one, place) for place, one in enumerate(summaries[5:20])]

    one_by_one = consensus_of(OneByOne(method, state), method, summaries)
    assert consensus_of(PartialFold(method, state, 1), method, summaries) == one_by_one


def test_every_device_of_a_stack_is_trusted_as_if_it_were_alone() -> None:
    rng = np.random.default_rng(0)
    for learned in (False, True):
        places = np.flatnonzero(rng.random(60) < 0.5)
        labels = RowLabels(rng.permutation(60)[:40], rng.integers(0, CLASSES, 40), learned=learned)
        stack = RowStack(rng.normal(size=(9, len(places), CLASSES)), places, 60)
        found = list(Trust(labels).stacked_part(stack))
        for one, part in zip(found, stack, strict=True):
            assert one.totals.tobytes() == Trust(labels).part(part).totals.tobytes()  # type: ignore[union-attr]


def test_rows_without_any_label_are_trusted_as_far_as_the_slack() -> None:
    labels = RowLabels(np.array([5]), np.array([0]))
    stack = RowStack(np.ones((2, 2, 3)), np.array([0, 1]), 6)
    for one, part in zip(Trust(labels).stacked_part(stack), stack, strict=True):
        assert one.totals.tolist() == Trust(labels).part(part).totals.tolist()  # type: ignore[union-attr]


class Halved(Fedstill):
    """An own method, which overrides what is done with one device and knows of no stacks."""

    def contribution(self, state: FleetState, *, round_number: int) -> Callable[[SoftLabelSummary], RowSums]:
        one = super().contribution(state, round_number=round_number)
        return lambda summary: dataclasses.replace(one(summary), totals=one(summary).totals / 2)

    def norms(self, part: RowSums) -> Norms:
        return Norms({"": np.array([1e6])}, 1)


def test_an_own_method_that_overrides_one_device_is_taken_at_its_word() -> None:
    own, state = bound("fedstill", "mean")
    halved = Halved(fold="clipped").bind(own.config, own.public)
    summaries = drawn(own, 20)

    assert not stacks(Halved, "stacked_contribution", "contribution")
    assert not stacks(Halved, "stacked_norms", "norms")
    assert stacks(Fedstill, "stacked_norms", "norms")
    assert consensus_of(PartialFold(halved, state, 1), halved, summaries) == consensus_of(
        OneByOne(halved, state), halved, summaries
    )
    assert PartialFold(halved, state, 1).norms(summaries).result().usual() == 1e6


def test_an_own_fold_that_overrides_one_device_is_taken_at_its_word() -> None:
    class Doubting(Trust):
        def part(self, said: Any, *, before: Any = None) -> Any:
            return dataclasses.replace(super().part(said, before=before), devices=1)

    assert not stacks(Doubting, "stacked_part", "part")
    assert stacks(Trust, "stacked_part", "part")
