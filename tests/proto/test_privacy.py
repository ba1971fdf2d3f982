"""Clipping, discrete noise and zCDP, with numbers that a person can check."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from fedstill_proto.errors import InvalidValue
from fedstill_proto.privacy import (
    SIGMA_STEPS,
    Noising,
    discrete_gaussian,
    epsilon_of_rho,
    rho_of_epsilon,
    seeded_bits,
    system_bits,
)
from fedstill_proto.privacy.discrete_gaussian import LARGEST_NOISE, _table
from fedstill_proto.privacy.vectors import class_vector, moved_vector, shaped_like, shift_vector
from hypothesis import given, settings
from hypothesis import strategies as st

finite = st.floats(-1e300, 1e300, allow_nan=False)


def probability(upto: int) -> Fraction:
    """P(|draw| <= upto) as the sampler's table has it."""
    high, low = _table()
    return Fraction((int(high[upto]) << 64) + int(low[upto]), 1 << 128)


def test_the_table_is_the_discrete_gaussian() -> None:
    """P(0) is one over the sum of all weights, which is sigma sqrt(2 pi) but for exp(-2 pi^2 sigma^2)."""
    assert float(probability(0)) == pytest.approx(1 / (SIGMA_STEPS * math.sqrt(2 * math.pi)), rel=1e-14)
    one = (probability(1) - probability(0)) / 2
    assert float(one / probability(0)) == pytest.approx(math.exp(-1 / (2 * SIGMA_STEPS**2)), rel=1e-14)
    at = 3 * SIGMA_STEPS
    there = (probability(at) - probability(at - 1)) / 2
    assert float(there / probability(0)) == pytest.approx(math.exp(-4.5), rel=1e-13)
    assert 1 - probability(LARGEST_NOISE) <= Fraction(1, 1 << 128)


def test_draws_have_the_variance_that_they_say() -> None:
    draws = discrete_gaussian(200_000, bits=seeded_bits(1))
    assert abs(draws.mean()) < 4 * SIGMA_STEPS / math.sqrt(200_000)
    assert draws.std() == pytest.approx(SIGMA_STEPS, rel=0.01)
    inside = (np.abs(draws) <= SIGMA_STEPS).mean()
    assert inside == pytest.approx(float(probability(SIGMA_STEPS)), abs=0.005)


def test_a_draw_is_the_place_of_its_bits_in_the_table() -> None:
    high, low = _table()
    place = 5000
    values = [
        (high[place], low[place] - np.uint64(1)),  # just below the sum of all up to here
        (high[place], low[place]),  # just there: the next
        (np.uint64(0), np.uint64(0)),
        (np.uint64(2**64 - 1), np.uint64(2**64 - 1)),
    ]
    stream = iter([*zip(*values, strict=True), [1, 1, 1, 0]])

    draws = discrete_gaussian(4, bits=lambda count: np.array(next(stream), np.uint64))

    assert draws.tolist() == [-place, -place - 1, 0, LARGEST_NOISE]


def test_seeds_repeat_and_the_system_does_not() -> None:
    assert (seeded_bits(3, "a", 1)(9) == seeded_bits(3, "a", 1)(9)).all()
    assert (seeded_bits(3, "a", 1)(9) != seeded_bits(3, "a", 2)(9)).all()
    assert (system_bits(9) != system_bits(9)).all()


def test_a_release_costs_what_its_multiplier_says_whatever_the_clip() -> None:
    """(2 C)^2 / (2 (2 C z)^2) with z = 2 is an eighth; the noise of a clip of 3 has a deviation of 12."""
    assert Noising(3.0, 2.0).rho == Noising(0.5, 2.0).rho == 1 / 8
    assert Noising(3.0, 2.0).sigma == 12.0
    # In steps: a radius of 4096 / 4 = 1024, and twice that over the sigma of 4096 again is 1 / z.
    assert Noising(3.0, 2.0).most_square == 1024**2
    assert (2 * 1024) ** 2 / (2 * SIGMA_STEPS**2) == 1 / 8


def test_what_is_short_stays_and_what_is_long_is_cut() -> None:
    noising = Noising(5.0, 1.0)  # a step is 10 / 4096
    short = noising.on_grid(np.array([1.0, -2.0]))
    assert short.tolist() == [round(409.6), round(-819.2)]
    assert noising.on_grid(np.array([30.0, 40.0])).tolist() == [1229, 1638]  # 3 and 4 in tenths of 4096
    np.testing.assert_allclose(noising.values(short), [1, -2], atol=noising.step / 2)


@given(
    st.lists(finite, min_size=1, max_size=40),
    st.floats(1e-6, 1e6),
    st.floats(0.05, 256),
)
def test_no_vector_is_longer_than_the_clip(numbers: list[float], clip: float, multiplier: float) -> None:
    noising = Noising(clip, multiplier)
    steps = noising.on_grid(np.array(numbers))
    assert sum(int(each) ** 2 for each in steps) <= noising.most_square
    assert np.abs(steps).max() <= noising.most_steps


def test_what_is_not_finite_says_nothing() -> None:
    for broken in (math.nan, math.inf, -math.inf):
        assert not Noising(1.0, 1.0).on_grid(np.array([broken, 1.0])).any()


@pytest.mark.parametrize(
    ("clip", "multiplier"), [(0, 1), (-1, 1), (math.nan, 1), (math.inf, 1), (1, 0), (1, math.nan), (1, 1e6)]
)
def test_noise_that_is_none_is_refused(clip: float, multiplier: float) -> None:
    with pytest.raises(InvalidValue):
        Noising(clip, multiplier)


def test_epsilon_of_rho() -> None:
    """At most what Bun and Steinke's proposition 1.3 gives, rho + 2 sqrt(rho log(1/delta)), and near it."""
    for rho, delta in ((0.01, 1e-5), (0.5, 1e-6), (1.0, 1e-5), (20.0, 1e-9)):
        simple = rho + 2 * math.sqrt(rho * math.log(1 / delta))
        assert 0.75 * simple < epsilon_of_rho(rho, delta) < simple
    # Order 5, by hand: 5 + (log 1e5 + 5 log 0.8 - log 4) / 4, and the best order says a little less.
    order_five = 5 + (math.log(1e5) + 5 * math.log(0.8) - math.log(4)) / 4
    assert order_five - 0.2 < epsilon_of_rho(1.0, 1e-5) < order_five
    assert epsilon_of_rho(0, 1e-5) == 0
    assert epsilon_of_rho(math.inf, 1e-5) == math.inf


@settings(max_examples=20)
@given(st.floats(0.01, 50), st.floats(1e-12, 0.1))
def test_rho_and_epsilon_belong_together(epsilon: float, delta: float) -> None:
    rho = rho_of_epsilon(epsilon, delta)
    assert epsilon * (1 - 1e-6) <= epsilon_of_rho(rho, delta) <= epsilon


@pytest.mark.parametrize("delta", [0, 1, -0.1, math.nan])
def test_a_delta_is_a_probability(delta: float) -> None:
    with pytest.raises(InvalidValue, match="delta"):
        epsilon_of_rho(1.0, delta)


def test_the_vectors_of_answers() -> None:
    # Two rows of softened logits at temperature 2: (4, 0) is 2 and 0, less their mean.
    np.testing.assert_allclose(
        shift_vector(np.array([[4, 0], [0, 0]], np.float32), temperature=2.0), [1, -1, 0, 0]
    )
    one = class_vector(np.array([[0.75, 0.25]], np.float32), np.array([1]), classes=2)
    np.testing.assert_allclose(one, [0, 0, 0, 0.25, -0.25, 1])
    start = {"w": np.zeros((2, 1), np.float32), "b": np.ones(1, np.float32)}
    moved = moved_vector({"b": np.array([1.5], np.float32), "w": np.ones((2, 1), np.float32)}, start)
    np.testing.assert_allclose(moved, [1, 1, 0.5])
    shaped = shaped_like(start, moved)
    assert {name: array.shape for name, array in shaped.items()} == {"w": (2, 1), "b": (1,)}
