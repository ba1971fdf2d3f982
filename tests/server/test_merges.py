"""With a merge of any shape the consensus of every method is the same to 1e-6: a stream, a tree, shuffled."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from fedstill_proto.messages import SoftLabelSummary
from fedstill_server.config.options import options_of
from fedstill_server.consensus.aggregation import Statistics, fold
from fedstill_server.consensus.weighting import WEIGHTINGS
from fedstill_server.methods import METHODS, Method, build_method
from fedstill_server.rounds.preparation import prepare
from fedstill_server.state import FleetState
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.scripted_fleet import (
    METHODS_OF_ANY_FAMILY,
    fleet_config,
    honest_statistics,
    public_examples,
)

DEVICES, FAMILIES = 7, ("mlp-small", "cnn")


@functools.cache
def started(name: str) -> tuple[Method, FleetState]:
    """A method that weighs votes in every way that there is."""
    weighs = any(one.name == "weighting" for one in options_of(METHODS.load(name)))
    config = fleet_config(name, {"weighting": WEIGHTINGS} if weighs else {}, families=FAMILIES)
    public = public_examples()
    method = build_method(config, public)
    return method, prepare(config, public, method)


@functools.cache
def parts(name: str) -> list[Statistics]:
    """What each of seven devices of two families adds."""
    method, state = started(name)
    contribution = method.contribution(state, round_number=1)
    each = []
    for device in range(DEVICES):
        task = method.task(state, round_number=1, family=FAMILIES[device % 2], newcomer=True)
        statistics = honest_statistics(task, device)
        each.append(
            contribution(SoftLabelSummary(task.run, task.round, task.family, task.request.kind, statistics))
        )
    return each


def tree(draw: st.DrawFn, leaves: list[Statistics]) -> Statistics:
    """The leaves added up in pairs of any kind until one is left."""
    while len(leaves) > 1:
        place = draw(st.integers(0, len(leaves) - 2))
        leaves = [*leaves[:place], leaves[place] + leaves[place + 1], *leaves[place + 2 :]]
    return leaves[0]


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_allclose(array, other[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", METHODS_OF_ANY_FAMILY)
@settings(max_examples=10)
@given(data=st.data())
def test_a_merge_of_any_shape_sums_to_the_same(name: str, data: Any) -> None:
    method, _ = started(name)
    zero = method.zero(round_number=1)
    stream = fold(parts(name), zero)
    shuffled = data.draw(st.permutations(parts(name)))

    grown = tree(data.draw, [*shuffled, zero])

    assert grown.devices == stream.devices == DEVICES
    assert_same(grown.arrays(), stream.arrays())


@pytest.mark.parametrize("name", [name for name in METHODS_OF_ANY_FAMILY if name != "local"])
def test_and_teaches_the_same(name: str) -> None:
    method, state = started(name)
    zero = method.zero(round_number=1)
    forth, back = fold(parts(name), zero), fold(parts(name)[::-1], zero)

    one, other = (method.learn(state, total, round_number=1) for total in (forth, back))

    assert_same(one.arrays, other.arrays)
