"""What an inspection measures: by hand, at its ends, and of a real package."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from fedstill_server import cli
from fedstill_server.calibration import calibration, fitted_temperature
from fedstill_server.inspection.agreement import agreement
from fedstill_server.inspection.corruption import blurred, corrupted_accuracies, noisy, rotated
from fedstill_server.inspection.energy import energy_of
from fedstill_server.inspection.outliers import auroc, outlier_auroc
from fedstill_server.inspection.surrogate import surrogate
from typer.testing import CliRunner

from tests.server.distill_samples import corners

X, Y = corners(80, seed=1)


def sure(probability: float, rows: int) -> np.ndarray:
    """Logits of two classes whose first has this probability."""
    return np.tile([math.log(probability / (1 - probability)), 0.0], (rows, 1)).astype(np.float32)


def test_calibration_by_hand() -> None:
    # Ten answers of 80 %, of which six are right; ten of 60 %, of which six are right.
    logits = np.concatenate([sure(0.8, 10), sure(0.6, 10)])
    labels = np.tile([0] * 6 + [1] * 4, 2)

    measured = calibration(logits, labels)

    assert measured.accuracy == pytest.approx(0.6)
    assert measured.ece == pytest.approx(0.5 * 0.2 + 0.5 * 0)
    brier = [2 * 0.2**2] * 6 + [2 * 0.8**2] * 4 + [2 * 0.4**2] * 6 + [2 * 0.6**2] * 4
    assert measured.brier == pytest.approx(np.mean(brier))
    assert [(one.examples, round(one.confidence, 3)) for one in measured.bins] == [(10, 0.6), (10, 0.8)]


def test_answers_that_are_right_as_often_as_they_say_need_no_scaling() -> None:
    logits, labels = sure(0.75, 400), np.repeat([0, 1], [300, 100])
    assert fitted_temperature(logits, labels) == pytest.approx(1, abs=1e-2)
    assert fitted_temperature(3 * logits, labels) == pytest.approx(3, rel=1e-2)
    assert calibration(3 * logits, labels, temperature=3.0).ece == pytest.approx(0, abs=1e-6)


def test_scaling_changes_no_answer() -> None:
    logits = np.random.default_rng(0).normal(size=(80, 4)).astype(np.float32)
    assert calibration(logits, Y).accuracy == calibration(logits, Y, temperature=7.0).accuracy


def test_corruptions_at_nothing_change_nothing() -> None:
    random = np.random.default_rng(0)
    np.testing.assert_array_equal(noisy(X, scale=0.0, random=random), X)
    np.testing.assert_allclose(blurred(X, pixels=1e-9), X, atol=1e-6)
    np.testing.assert_allclose(rotated(X, degrees=0.0), X, atol=1e-6)
    quarter = rotated(X, degrees=90.0)
    np.testing.assert_allclose(quarter, np.rot90(X, axes=(1, 2)), atol=1e-5)
    assert blurred(X, pixels=1.0).std() < X.std()


def test_a_flat_example_is_not_turned() -> None:
    flat = X.reshape(80, -1)
    trials = corrupted_accuracies(lambda x: np.eye(4)[Y], flat, Y)
    assert {one.corruption for one in trials} == {"noise"}
    assert {one.accuracy for one in trials} == {1.0}


def test_auroc_at_its_ends() -> None:
    high, low = np.array([0.9, 0.8]), np.array([0.5, 0.6, 0.7])
    assert auroc(high, low) == 1
    assert auroc(low, high) == 0
    assert auroc(np.array([0.5, 0.9]), np.array([0.7])) == 0.5
    assert outlier_auroc(lambda x: np.zeros((len(x), 4)), X) == {"shuffled values": 0.5, "uniform noise": 0.5}


def test_the_worst_slice_is_named() -> None:
    teacher = 5.0 * np.eye(4)[Y]
    student = teacher.copy()
    student[Y == 2] = np.eye(4)[0]
    groups = ["here" if row % 2 else "there" for row in range(80)]

    measured = agreement(X, Y, student, teacher, groups=groups)

    assert measured.overall == pytest.approx((Y != 2).mean())
    assert measured.worst.name == "class 2"
    assert (measured.worst.agreement, measured.worst.teacher_accuracy) == (0, 1)
    by_name = {one.name: one for one in measured.slices}
    assert by_name["here"].examples == 40
    quarters = [one.examples for name, one in by_name.items() if name.startswith("brightness")]
    assert quarters == [20] * 4


def test_a_tree_that_explains_all_and_one_that_cannot() -> None:
    bright = (X[:, 0, 0] > 0.3).astype(np.int64)
    whole = surrogate(X[:60], bright[:60], X[60:], bright[60:])
    assert whole.fidelity > 0.9
    assert whole.important[0][0] == "x[0,0]"
    chance = np.random.default_rng(0).integers(0, 2, 80)
    assert surrogate(X[:60], chance[:60], X[60:], chance[60:]).fidelity < 0.8


def test_energy_says_where_it_comes_from(tmp_path: Path) -> None:
    estimated = energy_of(lambda x: x, X, watts=10.0, rapl=tmp_path)
    assert "10 W" in estimated.how
    ratio = estimated.microjoules_per_answer / estimated.cpu_microseconds_per_answer
    assert ratio == pytest.approx(10)

    counter = tmp_path / "energy_uj"
    counter.write_text("1000000\n")
    answers = []

    def count(x: np.ndarray) -> np.ndarray:
        answers.append(x)
        counter.write_text(f"{1000000 + 7 * len(answers)}\n")
        return x

    measured = energy_of(count, X, watts=10.0, rapl=tmp_path)
    assert "RAPL" in measured.how
    assert measured.microjoules_per_answer == pytest.approx(7, rel=1e-6)


def test_a_distillation_is_inspected_with_its_own_task_and_teacher(tmp_path: Path) -> None:
    for name, seed, count in (("public", 1, 60), ("private", 2, 20), ("validation", 3, 40), ("test", 4, 60)):
        x, y = corners(count, seed=seed)
        np.savez(tmp_path / f"{name}.npz", x=x, y=y)
    out = tmp_path / "out"
    runner = CliRunner(env={"COLUMNS": "200"})
    arguments = ["--task", str(tmp_path), "--teacher", "train:mlp-9", "--family", "mlp-20", "--epochs", "2"]
    made = runner.invoke(cli.cli, ["distill", *arguments, "--out", str(out)])
    assert made.exit_code == 0, made.output

    seen = runner.invoke(cli.cli, ["inspect", str(out), "--json", "--seconds", "1"])

    assert seen.exit_code == 0, seen.output
    document = json.loads(seen.stdout)
    distilled = json.loads((out / "distill.json").read_text())["outcome"]
    assert document["plain"]["accuracy"] == pytest.approx(distilled["accuracy"])
    assert document["agreement"]["worst"]["name"] in [one["name"] for one in document["agreement"]["slices"]]
    page = (out / "inspection.html").read_text()
    assert document["agreement"]["worst"]["name"] in page
    assert "http" not in page  # self-contained
    assert json.loads((out / "inspection.json").read_text()) == document
    float32, int8 = document["forms"]
    assert (float32["name"], int8["name"]) == ("float32", "int8")
    assert float32["cost"]["multiply_adds"] == int8["cost"]["multiply_adds"] == 20 * (16 + 4)
    assert int8["cost"]["weights_bytes"] < float32["cost"]["weights_bytes"]
    for form in (float32, int8):
        speed = form["speed"]
        assert speed["latency"]["p50_us"] <= speed["latency"]["p95_us"] <= speed["latency"]["p99_us"]
        assert speed["loaded"]["busy_processes"] == document["machine"]["cores"]
        assert [one["batch"] for one in speed["throughput"]][:4] == [1, 2, 4, 8]
    text = runner.invoke(
        cli.cli, ["inspect", str(out / "student"), "--watts", "2", "--seconds", "0.4"]
    ).stdout
    assert "worst slice" in text
    assert "fidelity" in text
