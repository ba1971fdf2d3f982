"""An audit: its attacks on numbers that can be checked by hand, and on fleets with and without noise."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from fedstill_proto.arrays import Float64Array
from fedstill_proto.errors import FedstillError
from fedstill_proto.privacy import discrete_gaussian
from fedstill_sim.audit.label_distribution import estimated_histograms, label_distribution_result
from fedstill_sim.audit.membership import confidence_ratios, device_result, likelihood_ratios
from fedstill_sim.audit.noise_check import check_noise
from fedstill_sim.audit.projection import Projection
from fedstill_sim.audit.reconstruction import class_means_of, estimated_means, first_layer_means
from fedstill_sim.audit.result import AuditResult
from fedstill_sim.audit.run_audit import audit_request
from fedstill_sim.options import AuditOptions
from fedstill_sim.request import RunRequest
from rich.console import Console

Steps = npt.NDArray[np.int64]


def audited(*, out: Path | None = None, watch: str | None = None, **options: object) -> AuditResult:
    """A small audit of four writers' digits in one round."""
    asked = {"dataset": "digits", "devices": 4, "rounds": 1, "families": ("mlp-small",), "processes": 0}
    request = RunRequest(**{**asked, "baselines": (), "tradeoff": False, **options})  # type: ignore[arg-type]
    much = AuditOptions(shadows=16, runs=16, watch=watch)
    return audit_request(request, much, out=out, console=Console(quiet=True))


def test_a_likelihood_ratio_of_two_gaussians_is_their_log_odds() -> None:
    """Members at 1, others at -1, both with a variance of 1: the ratio at x is 2 x."""
    spread = np.array([-1.0, 1.0] * 500)
    own = np.concatenate([1 + spread, -1 + spread])[:, None]
    held = np.repeat([True, False], 1000)[:, None]
    noise = 10.0  # so large that what else the covariance holds hardly counts: the ratio is 2 x / noise^2
    scores, exposure = likelihood_ratios(own, held, np.array([[-3.0], [0.0], [3.0]]), noise=noise)
    np.testing.assert_allclose(scores[:, 0] * noise**2, [-6, 0, 6], rtol=0.03, atol=1e-6)
    np.testing.assert_allclose(exposure * noise**2, [4], rtol=0.03)


def test_a_student_that_is_sure_of_an_example_has_learned_it() -> None:
    own = np.array([[3.0], [5.0], [-1.0], [1.0]])
    held = np.array([[True], [True], [False], [False]])
    scores = confidence_ratios(own, held, np.array([[4.0], [2.0], [0.0]]))
    np.testing.assert_allclose(scores[:, 0], [8, 0, -8], atol=1e-6)  # means 4 and 0, both variances 1


def test_scores_that_part_two_sets_find_all_of_them() -> None:
    found = device_result(np.ones(100), -np.ones(100), delta=1e-5, seed=0)
    assert (found.auc, found.advantage, found.true_positives_at_1) == (1, 1, 1)
    assert found.epsilon == pytest.approx(np.log(0.8995 / 0.1005), abs=0.01)  # 50 of 50 and 0 of 50, at 99 %


def test_scores_that_say_nothing_find_nothing() -> None:
    scores = np.random.default_rng(0).normal(size=(2, 400))
    found = device_result(*scores, delta=1e-5, seed=0)
    assert found.auc_interval[0] < 0.5 < found.auc_interval[1]
    assert found.advantage_interval[0] < 0 < found.advantage_interval[1]
    assert found.epsilon < 0.3


def test_a_histogram_that_answers_follow_is_told() -> None:
    roots = np.sqrt(np.random.default_rng(0).dirichlet([1, 1, 1], 200))
    told = estimated_histograms(roots[:100], roots[:100] ** 2, roots[100:], noise=0.0)
    result = label_distribution_result(
        told, roots[100:] ** 2, (roots[:100] ** 2).mean(axis=0), stated=False, seed=0
    )
    assert result.error < 0.02 < 0.2 < result.error_of_nothing
    assert result.advantage_interval[0] > 0.9


def test_answers_full_of_noise_leave_the_mean_histogram() -> None:
    shares = np.random.default_rng(0).dirichlet([5, 5], 50)
    told = estimated_histograms(shares, shares, shares[:3], noise=1e6)
    np.testing.assert_allclose(told, np.tile(np.sqrt(shares).mean(axis=0) ** 2, (3, 1)), atol=0.02)


def test_a_projection_keeps_lengths_along_what_differs() -> None:
    vectors = np.array([[1.0, 5, 0], [-1, 5, 0], [0, 5, 2], [0, 5, -2]])
    onto = Projection.fit(vectors, most=2)
    np.testing.assert_allclose(np.abs(onto.of(np.array([[0, 5.0, 2]]))), [[2, 0]], atol=1e-9)
    np.testing.assert_allclose(onto.basis.T @ onto.basis, np.eye(2), atol=1e-9)


def test_class_means_and_what_answers_say_of_them() -> None:
    x = np.array([[[0.0, 2]], [[2, 4]], [[5, 5]]], np.float32)
    np.testing.assert_allclose(
        class_means_of(x, np.array([0, 0, 2]), 3), np.array([[1.0, 3], [7 / 3, 11 / 3], [5, 5]]), rtol=1e-6
    )
    means = np.random.default_rng(0).normal(size=(300, 1, 2))
    told = estimated_means(means[:, 0], means, np.array([1.0, -2.0]), noise=0.0)
    np.testing.assert_allclose(told, [[1, -2]], atol=0.05)


def test_a_unit_that_saw_one_example_shows_it() -> None:
    start = {"hidden.weight": np.zeros((2, 3), np.float32), "hidden.bias": np.zeros(2, np.float32)}
    moved = np.array([0.5, 1.0, 1.5, 0, 0, 0, 0.5, 0])  # the first unit moved by 0.5 (1, 2, 3), and 0.5
    np.testing.assert_allclose(first_layer_means(moved, start, 3), [[1, 2, 3]])
    assert first_layer_means(moved, start, 4).shape == (0, 4)


def releases(many: int, numbers: int, *, seed: int = 0, scale: float = 2.0) -> Float64Array:
    return np.random.default_rng(seed).normal(scale=scale, size=(many, numbers))


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda noise: 0.9 * noise, "10% of it in all"),
        (lambda noise: 0 * noise, "all of it is not there"),
        (lambda noise: noise * (np.arange(noise.shape[1]) != 7), "in some number"),
        (lambda noise: np.repeat(noise[:4], 2, axis=0), "noise is missing"),  # each draw is used twice
        (lambda noise: noise + 10, "longer than the clip of 1"),
    ],
)
def test_noise_that_is_missing_is_found(broken: Callable[[Float64Array], Float64Array], words: str) -> None:
    assert words in check_noise(broken(releases(8, 2000)), deviation=2, clip=1).missing


def test_correct_noise_raises_at_most_five_false_alarms_in_a_hundred() -> None:
    alarms = [check_noise(releases(8, 200, seed=seed), deviation=2, clip=1).missing for seed in range(200)]
    assert sum(map(bool, alarms)) <= 10


def test_the_promise_of_a_good_build_holds() -> None:
    good = audited(privacy="local", epsilon=8.0, method="class-logits")
    assert good.broken == ""
    assert good.promise is not None
    assert good.promise.epsilon == pytest.approx(8, abs=0.01)
    assert good.noise is not None
    assert good.noise.found == pytest.approx(good.noise.promised, rel=0.2)


@pytest.mark.parametrize(
    ("mode", "place"),
    [("local", "fedstill_proto.privacy.noising"), ("central", "fedstill_server.rounds.private_fold")],
)
def test_a_build_with_half_of_its_noise_breaks_its_promise(
    mode: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{place}.discrete_gaussian", lambda n, *, bits: discrete_gaussian(n, bits=bits) // 2)
    bad = audited(privacy=mode, epsilon=8.0, method="class-logits")
    assert bad.broken.startswith("noise is missing")
    assert bad.noise is not None
    assert bad.noise.found == pytest.approx(bad.noise.promised / 2, rel=0.2)


def test_without_privacy_nothing_is_promised_and_files_say_what_is_found(tmp_path: Path) -> None:
    found = audited(method="fedavg", out=tmp_path, watch="writer-05")
    assert (found.promise, found.noise, found.broken, found.device) == (None, None, "", "writer-05")
    assert found.devices_told.auc == 1
    document = json.loads((tmp_path / "audit.json").read_text())
    assert document["devices_told"]["auc"] == 1
    assert "What fedavg gives away of a device" in (tmp_path / "audit.html").read_text()


def test_what_cannot_be_audited_is_said() -> None:
    with pytest.raises(FedstillError, match="--stragglers, --vanish and the like"):
        audited(stragglers=0.5)
    with pytest.raises(FedstillError, match="--secure-sums: the server sees no answer"):
        audited(privacy="distributed", epsilon=8.0)
    with pytest.raises(FedstillError, match="--watch: 'writer-5'"):
        audited(watch="writer-5")
