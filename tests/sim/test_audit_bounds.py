"""An attack on the mechanism that devices and server run; with half of the noise it would find out."""

from __future__ import annotations

import numpy as np
from fedstill_proto.arrays import Float64Array
from fedstill_proto.privacy import Noising, epsilon_of_rho, seeded_bits
from fedstill_sim.audit.bounds import Release, epsilon_at_least

DELTA, RELEASES, NUMBERS = 1e-5, 40_000, 4


def releases_of(noising: Noising, *, times: int = 1) -> Release:
    """What `times` rounds release of a vector; the attack sees their mean, and loses nothing by it."""
    count = 0

    def release(vector: Float64Array, releases: int) -> Float64Array:
        nonlocal count
        total = np.zeros((releases, NUMBERS))
        for _ in range(times):
            count += 1
            many = np.zeros((releases, NUMBERS)) + vector
            noise = noising.noised(np.zeros(many.size), bits=seeded_bits(7, count)).reshape(many.shape)
            total += noising.values(noising.on_grid(vector) + noise)
        return total / times

    return release


def found(actual: Noising, *, times: int = 1) -> float:
    """The audit of two vectors that are as far apart as a clip of 1 allows, one of them far too long."""
    one = np.array([100.0, 0, 0, 0])
    return epsilon_at_least(
        releases_of(actual, times=times), one, -0.01 * one, releases=RELEASES, delta=DELTA
    )


def test_the_attack_stays_below_what_is_promised() -> None:
    for times, multiplier in ((1, 1.0), (1, 2.0), (4, 2.0)):
        promised = epsilon_of_rho(times * Noising(1.0, multiplier).rho, DELTA)
        assert 0.3 * promised < found(Noising(1.0, multiplier), times=times) < promised


def test_the_attack_finds_half_of_the_noise_missing() -> None:
    for times in (1, 4):
        promised = epsilon_of_rho(times * Noising(1.0, 2.0).rho, DELTA)
        assert found(Noising(1.0, 1.0), times=times) > promised


def test_the_attack_finds_a_clip_that_does_not_cut() -> None:
    """Noise for a clip of 1 on a vector that is 3 long."""

    def release(vector: Float64Array, releases: int) -> Float64Array:
        honest = releases_of(Noising(1.0, 1.0))(np.zeros(NUMBERS), releases)
        return honest + 3 * np.clip(vector, -1, 1)

    one = np.array([100.0, 0, 0, 0])
    promised = epsilon_of_rho(Noising(1.0, 1.0).rho, DELTA)
    assert epsilon_at_least(release, one, -one, releases=RELEASES, delta=DELTA) > promised


def test_the_same_input_twice_tells_nothing() -> None:
    one = np.array([1.0, 0, 0, 0])
    assert epsilon_at_least(releases_of(Noising(1.0, 1.0)), one, one, releases=4000, delta=DELTA) < 0.1
