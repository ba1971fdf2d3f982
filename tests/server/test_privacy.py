"""The accountant against closed forms, and the noised fold with numbers on paper."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from fedstill_proto.messages import PrivateStatistics, SoftLabelSummary, SummaryKind
from fedstill_proto.privacy.noising import SIGMA_STEPS
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels
from fedstill_server.config.fleet import AsyncRule, ConfigError
from fedstill_server.consensus.aggregation import RowSums
from fedstill_server.methods import METHODS, build_method, noised_methods
from fedstill_server.methods.class_logits import ClassLogits
from fedstill_server.methods.fedavg import FedAvg
from fedstill_server.methods.noised_shift import way_through_noise
from fedstill_server.methods.public_shift import propagated
from fedstill_server.privacy.accountant import (
    epsilon_of_rounds,
    noise_for_epsilon,
    zcdp_epsilon_of_rounds,
)
from fedstill_server.privacy.rule import PrivacyRule
from fedstill_server.rounds.gate import Answer
from fedstill_server.rounds.preparation import prepare
from fedstill_server.rounds.private_fold import PrivateFold

from tests.server.scripted_fleet import fleet_config, public_examples

FLOAT32 = SoftLabelCodec(Encoding.FLOAT32)
FAMILY = "mlp-small"


def rule(mode: str = "central", **changes: Any) -> PrivacyRule:
    return PrivacyRule(**{"mode": mode, "noise_multiplier": 1.0, "clip": 1.0, "noise_seed": 5, **changes})


def gaussian_delta(mu: float, epsilon: float) -> float:
    """Of one Gaussian mechanism with sensitivity over sigma = mu (Balle and Wang 2018, arXiv 1805.06530)."""

    def phi(value: float) -> float:
        return math.erfc(-value / math.sqrt(2)) / 2

    return phi(mu / 2 - epsilon / mu) - math.exp(epsilon) * phi(-mu / 2 - epsilon / mu)


@pytest.mark.parametrize(("multiplier", "rounds"), [(1.0, 1), (3.0, 20), (12.0, 20)])
def test_epsilon_is_that_of_the_closed_form_and_below_zcdp(multiplier: float, rounds: int) -> None:
    """n rounds with z are one Gaussian with mu = sqrt(n) / z; the epsilon's delta is then 1e-5."""
    epsilon = epsilon_of_rounds(multiplier, rounds, 1e-5)
    mu = math.sqrt(rounds) / multiplier
    assert gaussian_delta(mu, epsilon) <= 1e-5 * (1 + 1e-9)
    assert gaussian_delta(mu, epsilon - 0.01) > 1e-5
    assert epsilon < zcdp_epsilon_of_rounds(multiplier, rounds, 1e-5) < 1.2 * epsilon


@pytest.mark.parametrize("apart", [SIGMA_STEPS, 200])
def test_the_discrete_noise_is_as_private_as_the_accountant_says(apart: int) -> None:
    """delta = sum_k max(0, P(k - d) - e^epsilon P(k)), of whole numbers d steps apart."""
    epsilon = epsilon_of_rounds(SIGMA_STEPS / apart, 1, 1e-5)
    steps = np.arange(-14 * SIGMA_STEPS, 15 * SIGMA_STEPS)
    weights = np.exp(-((steps / SIGMA_STEPS) ** 2) / 2)
    shifted = np.exp(-(((steps - apart) / SIGMA_STEPS) ** 2) / 2)
    exact = np.maximum(0, shifted - math.exp(epsilon) * weights).sum() / weights.sum()
    assert exact <= 1e-5
    assert exact == pytest.approx(gaussian_delta(apart / SIGMA_STEPS, epsilon), rel=1e-6)


def test_noise_for_an_epsilon_is_enough_and_hardly_more() -> None:
    noise = noise_for_epsilon(1.0, 10, 1e-5)
    assert epsilon_of_rounds(noise, 10, 1e-5) <= 1.0 < epsilon_of_rounds(noise / 1.01, 10, 1e-5)
    assert epsilon_of_rounds(noise, 0, 1e-5) == 0


# The noised fold, of class means of two classes: vectors of six numbers.


def class_means(device: str, first: float, *, examples: int = 7) -> Answer:
    """A device that has class 0 alone, with this mean soft label of it."""
    statistics = PrivateStatistics(
        soft_labels=DenseSoftLabels(np.array([[first, 1 - first, 0]], np.float32)),
        present_classes=np.array([0]),
        class_examples=np.array([examples]),
    )
    return Answer(device, SoftLabelSummary("r", 1, FAMILY, SummaryKind.CLASS_MEANS, statistics), 1)


def folded(answers: list[Answer], *, asked: int, round_number: int = 1, **changes: Any) -> RowSums:
    config = fleet_config("class-logits", uplink=FLOAT32)
    method = build_method(config, public_examples())
    state = prepare(config, method.public, method)  # type: ignore[attr-defined]
    fold = PrivateFold(method, rule(**{"clip": 4.0, "noise_multiplier": 0.05, **changes}))
    means = fold.noised_means(answers, state, asked={FAMILY: asked}, round_number=round_number)
    sums = fold.consensus(means, state, round_number=round_number)
    assert isinstance(sums, RowSums)
    return sums


def test_the_sum_of_many_shows_through_the_noise() -> None:
    """2,000 devices with a mean of 0.9 for class 0, 1,000 with 0.6: the noise on a number is 0.4 / 3,000."""
    answers = [class_means("a", 0.9)] * 2000 + [class_means("b", 0.6)] * 1000
    sums = folded(answers, asked=3000)
    assert sums.devices == 3000
    np.testing.assert_allclose(sums.weights, [3000, 0, 0], atol=2)  # nobody has the others
    np.testing.assert_allclose(sums.result()[0], [0.8, 0.2, 0], atol=0.001)


def test_examples_behind_an_answer_do_not_count() -> None:
    few, many = (folded([class_means("a", 0.9, examples=number)] * 50, asked=50) for number in (1, 100_000))
    np.testing.assert_array_equal(few.totals, many.totals)


def test_whether_a_device_answered_is_not_in_the_number_of_devices() -> None:
    assert folded([class_means("a", 0.9)] * 99, asked=100).devices == 100


def test_every_round_has_noise_of_its_own_and_a_seed_repeats_it() -> None:
    answers = [class_means("a", 0.9)] * 200
    first, again, second, unseeded = (
        folded(answers, asked=200, **changes).totals
        for changes in ({}, {}, {"round_number": 2}, {"noise_seed": None})
    )
    np.testing.assert_array_equal(first, again)
    assert (first[0] != second[0]).any()
    assert (first[0] != unseeded[0]).any()


class Recorded(ClassLogits):
    """Keeps the noised means as they are."""

    def consensus_of(self, means: Any, state: Any, *, round_number: int) -> Any:
        return means


def test_another_device_moves_the_sum_by_twice_the_clip_at_most() -> None:
    """The very same noise, and one answer replaced: what differs is what the device may change."""
    config = fleet_config("class-logits", uplink=FLOAT32)
    fold = PrivateFold(Recorded().bind(config, public_examples()), rule(clip=0.25, noise_multiplier=2.0))
    rest = [class_means("b", 0.5)] * 3
    one, other = (
        fold.noised_means([class_means("a", first), *rest], None, asked={FAMILY: 4}, round_number=1)[""]  # type: ignore[arg-type]
        for first in (1.0, 0.0)
    )
    moved = np.linalg.norm(4 * (one.vector - other.vector))
    assert 0 < moved <= 2 * 0.25
    assert one.noise == pytest.approx(2 * 0.25 * 2.0 / 4)
    assert np.abs(4 * one.vector / fold.rule.noising.step).max() < 6 * SIGMA_STEPS


def test_students_that_moved_are_averaged_family_by_family() -> None:
    config = fleet_config("fedavg", families=(FAMILY, "mlp-wide"), uplink=FLOAT32)
    method = build_method(config, public_examples())
    assert isinstance(method, FedAvg)
    state = prepare(config, method.public, method)
    start = state.students[FAMILY]

    def moved(device: str, step: float) -> Answer:
        parameters = {name: array + np.float32(step) for name, array in start.items()}
        statistics = PrivateStatistics(parameters=parameters, examples=int(1e6 * step))
        return Answer(device, SoftLabelSummary("r", 1, FAMILY, SummaryKind.PARAMETERS, statistics), 1)

    fold = PrivateFold(method, rule(clip=50.0, noise_multiplier=0.05, mode="central"))
    answers = [moved("a", 0.2)] * 4000 + [moved("b", 0.6)] * 4000
    means = fold.noised_means(answers, state, asked={FAMILY: 8000}, round_number=1)
    consensus = fold.consensus(means, state, round_number=1)
    after = method.learn(state, consensus, round_number=1).students
    for name, array in after[FAMILY].items():
        np.testing.assert_allclose(array - start[name], 0.4, atol=0.01)  # each device counts once
    np.testing.assert_array_equal(
        np.concatenate([array.ravel() for array in after["mlp-wide"].values()]),
        np.concatenate([array.ravel() for array in state.students["mlp-wide"].values()]),
    )


# What a method makes of a noised mean shift.


def test_noise_alone_shows_no_way() -> None:
    draws = np.random.default_rng(4)
    x = draws.normal(size=(60, 4)).astype(np.float32)
    shift = draws.normal(size=(60, 3))
    shift -= shift.mean(axis=1, keepdims=True)
    shift -= shift.mean(axis=0)
    _, share = way_through_noise(shift, x, np.arange(60), noise=1.0, width=1 / 3)
    assert share < 0.25
    _, share = way_through_noise(100 * shift, x, np.arange(60), noise=1.0, width=1 / 3)
    assert share > 0.99


def test_with_next_to_no_noise_the_way_is_the_usual_one() -> None:
    draws = np.random.default_rng(4)
    x, rows = draws.normal(size=(9, 2)).astype(np.float32), np.array([0, 3, 5, 8])
    shift = draws.normal(size=(4, 3))
    shift -= shift.mean(axis=1, keepdims=True)
    shift -= shift.mean(axis=0)
    for width in (0.0, 0.5):
        way, share = way_through_noise(shift, x, rows, noise=1e-7, width=width)
        np.testing.assert_allclose(way, propagated(shift, x, rows, width=width), atol=1e-4)
        assert share == pytest.approx(1)


def test_under_much_noise_more_rows_speak_together() -> None:
    """One number for all rows, and noise of twice its size: neighbours tell."""
    draws = np.random.default_rng(4)
    x = np.linspace(0, 1, 200, dtype=np.float32)[:, None]
    shift = np.where(x > 0.5, 1.0, -1.0) * np.array([0.5, -0.5, 0.0])
    noised = shift + draws.normal(size=shift.shape)
    noised -= noised.mean(axis=1, keepdims=True)
    way, share = way_through_noise(noised, x, np.arange(200), noise=1.0, width=1 / 3)
    wrong = np.mean((way - shift) ** 2)
    assert wrong < 0.1 * np.mean((noised - shift) ** 2)
    assert share > 0.8


# What is refused.


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        (
            "fedmd",
            {},
            "method: 'fedmd' is not one that differential privacy is there for: fedstill, .*fedavg",
        ),
        ("feddf", {}, "method: 'feddf' is not one that"),
        ("local", {}, "method: 'local' is not one that"),
        ("fedstill", {"mode": "async", "asynchronous": AsyncRule()}, "mode: 'async' is not rounds"),
        (
            "fedstill",
            {"uplink": SoftLabelCodec(Encoding.LEVELS, entropy=True)},
            "uplink: 'levels' is not one without entropy coding",
        ),
    ],
)
def test_what_would_leak_is_refused(method: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fleet_config(method, **{"privacy": rule(), "uplink": FLOAT32, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "global"},
        {"noise_multiplier": 0.0},
        {"clip": math.nan},
        {"delta": 0.0},
        {"noise_seed": -1},
        {"noise_seed": None, "measured": True},
    ],
)
def test_rules_that_promise_nothing_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=next(iter(changes if "measured" not in changes else ["measured"]))):
        rule(**changes)


def test_every_noised_method_asks_devices_for_noise_and_nothing_else() -> None:
    for name in noised_methods():
        family = "cnn-norm"
        config = fleet_config(name, families=(family,), uplink=FLOAT32, privacy=rule("local", clip=3.0))
        method = build_method(config, public_examples())
        state = prepare(config, method.public, method)
        request = method.task(state, round_number=1, family=family, newcomer=True).request
        assert request.noising == rule("local", clip=3.0).noising
        assert request.codec is None
        assert METHODS.load(name).default_clip is not None
