"""Splits: what each promises for any labels, devices and seed."""

import numpy as np
import pytest
from fedstill_sim.data.fleet import FleetDataError
from fedstill_sim.data.splits import dirichlet_split, hold_out, iid_split, natural_split, resampled_split
from hypothesis import given, settings
from hypothesis import strategies as st


def labels_of(sizes: list[int], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))


def assert_partition(parts: list[np.ndarray], examples: int) -> None:
    assert sorted(np.concatenate(parts).tolist()) == list(range(examples))


def test_natural_split_cuts_at_the_first_rows() -> None:
    parts = natural_split([0, 2, 5], 6)
    assert [part.tolist() for part in parts] == [[0, 1], [2, 3, 4], [5]]


@given(examples=st.integers(1, 200), devices=st.integers(1, 12), seed=st.integers(0, 5))
def test_iid_split_is_an_even_partition(examples: int, devices: int, seed: int) -> None:
    parts = iid_split(examples, devices=devices, seed=seed)
    assert_partition(parts, examples)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@settings(deadline=None, max_examples=40)
@given(
    sizes=st.lists(st.integers(20, 60), min_size=2, max_size=8),
    devices=st.integers(1, 6),
    alpha=st.floats(0.1, 100),
    seed=st.integers(0, 100),
)
def test_dirichlet_split_is_a_partition_with_a_smallest_size(
    sizes: list[int], devices: int, alpha: float, seed: int
) -> None:
    labels = labels_of(sizes, seed)
    split = {"classes": len(sizes), "devices": devices, "alpha": alpha, "min_examples": 2, "seed": seed}
    parts = dirichlet_split(labels, **split)
    assert_partition(parts, len(labels))
    assert min(map(len, parts)) >= 2
    again = dirichlet_split(labels, **split)
    assert all(np.array_equal(part, other) for part, other in zip(parts, again, strict=True))


def largest_class_share(alpha: float) -> float:
    """Mean over devices of the largest class's share: 0.1 for ten even classes, 1 for one class a device."""
    labels = labels_of([100] * 10, 0)
    parts = dirichlet_split(labels, classes=10, devices=10, alpha=alpha, min_examples=5, seed=0)
    return float(np.mean([np.bincount(labels[part]).max() / len(part) for part in parts]))


def test_a_smaller_alpha_is_more_skewed() -> None:
    assert largest_class_share(1000.0) < 0.15
    assert largest_class_share(0.1) > 0.35


def test_dirichlet_split_says_what_cannot_be_done() -> None:
    labels = labels_of([10, 10], 0)
    with pytest.raises(FleetDataError, match="alpha must be above 0"):
        dirichlet_split(labels, classes=2, devices=2, alpha=0.0, min_examples=1, seed=0)
    with pytest.raises(FleetDataError, match="20 examples cannot give 5 devices 8 each"):
        dirichlet_split(labels, classes=2, devices=5, alpha=1.0, min_examples=8, seed=0)


@given(
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=5),
    counts=st.lists(st.integers(0, 30), min_size=1, max_size=6),
    seed=st.integers(0, 100),
)
def test_resampled_split_gives_counts_of_existing_rows(
    sizes: list[int], counts: list[int], seed: int
) -> None:
    labels = labels_of(sizes, seed)
    mixtures = np.random.default_rng(seed).dirichlet(np.ones(len(sizes)), len(counts)).astype(np.float32)
    parts = resampled_split(labels, mixtures=mixtures, counts=np.array(counts), seed=seed)
    assert [len(part) for part in parts] == counts
    assert all(np.isin(part, np.arange(len(labels))).all() for part in parts)


def test_resampled_split_follows_each_device_mixture() -> None:
    labels = labels_of([5, 50, 500], 0)
    mixtures = np.array([[1, 0, 0], [0, 0.25, 0.75], [0, 0, 1]], np.float32)
    parts = resampled_split(labels, mixtures=mixtures, counts=np.array([100, 4000, 100]), seed=3)
    assert set(labels[parts[0]]) == {0}
    assert set(labels[parts[2]]) == {2}
    assert np.bincount(labels[parts[1]], minlength=3) / 4000 == pytest.approx([0, 0.25, 0.75], abs=0.03)


def test_resampled_split_refuses_a_class_without_examples() -> None:
    with pytest.raises(FleetDataError, match="no examples"):
        resampled_split(
            np.array([0, 0]), mixtures=np.ones((1, 2), np.float32) / 2, counts=np.array([4]), seed=0
        )


@given(size=st.integers(2, 100), fraction=st.floats(0, 1), seed=st.integers(0, 9))
def test_hold_out_cuts_a_part_in_two(size: int, fraction: float, seed: int) -> None:
    part = np.arange(100, 100 + size)
    train, test = hold_out(part, fraction=fraction, seed=(seed,))
    assert sorted([*train, *test]) == part.tolist()
    assert len(train) >= 1
    assert len(test) >= 1
    assert abs(len(test) - size * fraction) <= 1


def test_hold_out_needs_two_examples() -> None:
    with pytest.raises(FleetDataError, match="1 examples cannot be cut"):
        hold_out(np.array([7]), fraction=0.25, seed=(0,))
