import dataclasses
from pathlib import Path

import pytest
from fedstill_sim.compare_report import render_comparison
from fedstill_sim.comparison import (
    Comparison,
    ComparisonTiming,
    compared,
    read_comparison,
    write_comparison,
)
from fedstill_sim.result import ResultError, RunResult

from tests.sim.sample_results import sample_result
from tests.sim.test_report import Page

TIMING = ComparisonTiming(
    finished="2026-01-01T12:00:00+00:00",
    total_seconds=30.0,
    rounds_seconds={"local": 10.0, "fedavg": 10.0, "public-logits": 10.0},
    device_rounds_per_second={"local": 900.0, "fedavg": 900.0, "public-logits": 900.0},
)


def a_run(method: str, seed: int, *, personal: float, everyone: float, uplink: float) -> RunResult:
    base = sample_result(devices=2, rounds=2, baselines=())
    final = dataclasses.replace(
        base.final,
        personal_accuracy=personal,
        global_accuracy=everyone,
        worst_device_accuracy=personal - 0.1,
        uplink_bytes_per_device_round=uplink,
        max_abs_logit_difference=seed * 1e-6,
    )
    return dataclasses.replace(base, method=method, seed=seed, final=final)


@pytest.fixture
def comparison() -> Comparison:
    results = {
        "local": [
            a_run("local", seed, personal=0.90 + seed / 100, everyone=0.70, uplink=40.0) for seed in range(3)
        ],
        "fedavg": [a_run("fedavg", seed, personal=0.85, everyone=0.90, uplink=20_000.0) for seed in range(3)],
        "public-logits": [
            a_run("public-logits", seed, personal=0.92 + seed / 100, everyone=0.91, uplink=800.0)
            for seed in range(3)
        ],
    }
    return compared(
        results, config={"comparison": {"command": "fedstill-sim compare digits --out DIR"}}, timing=TIMING
    )


def test_means_and_paired_differences(comparison: Comparison) -> None:
    own = comparison.methods["public-logits"]
    advantage = next(one for one in comparison.advantages if one.baseline == "local")

    assert own.personal_accuracy.mean == pytest.approx(0.93)
    assert own.personal_accuracy.half_width == pytest.approx(0.024841, abs=1e-6)
    # The seeds differ by 2 points each time: paired, there is no doubt at all.
    assert advantage.personal_accuracy.mean == pytest.approx(0.02)
    assert advantage.personal_accuracy.half_width == pytest.approx(0.0, abs=1e-9)
    assert own.max_abs_logit_difference == 2e-6


def test_verdicts_name_the_method_and_the_baseline(comparison: Comparison) -> None:
    lines = [(line.outcome, line.text) for line in comparison.verdicts]

    assert ("good", "public-logits: personal accuracy 93.0 %, 2.0 ± 0.0 points above local (91.0 %)") in lines
    assert ("good", "public-logits: uplink 800 B a device-round, 1/25 of fedavg's (20 kB)") in lines
    assert len(lines) == 5


def test_bytes_add_up_round_by_round(comparison: Comparison) -> None:
    rounds = comparison.methods["local"].rounds

    assert [one.bytes_so_far_per_device for one in rounds] == [2 * 842.0, 4 * 842.0]


def test_read_back_it_is_the_same(comparison: Comparison, tmp_path: Path) -> None:
    write_comparison(comparison, tmp_path / "compare.json")

    assert read_comparison(tmp_path / "compare.json") == comparison


def test_a_fleet_without_tests_cannot_be_compared() -> None:
    run = a_run("local", 0, personal=0.9, everyone=0.9, uplink=1.0)
    without = dataclasses.replace(run, final=dataclasses.replace(run.final, personal_accuracy=None))

    with pytest.raises(ResultError, match="need test examples"):
        compared({"local": [without], "fedavg": [without]}, config={}, timing=TIMING)


def test_its_page_is_well_formed_and_asks_for_nothing(comparison: Comparison) -> None:
    page = render_comparison(comparison)

    assert [one for one in Page(page).addresses if not one.startswith("#")] == []
    assert "93.0" in page
    assert "± 2.5" in page
    assert "1/25" in page
