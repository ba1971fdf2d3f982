import csv
import dataclasses
import io
import re
from pathlib import Path

import pytest
from fedstill_sim.compare.charts import frontier
from fedstill_sim.compare.exports import differences_csv, means_csv, runs_csv
from fedstill_sim.compare.latex import latex
from fedstill_sim.compare.markdown import markdown
from fedstill_sim.compare.report import render_comparison
from fedstill_sim.compare.result import (
    BASELINES,
    ComparisonResult,
    ComparisonTiming,
    FailedRun,
    MethodEstimate,
    Split,
    SplitRuns,
    compare_runs,
    read_comparison,
    write_comparison,
)
from fedstill_sim.results.json_files import ResultError
from fedstill_sim.results.run_result import RunResult

from tests.sim.sample_results import sample_result
from tests.sim.test_report import Page

TIMING = ComparisonTiming(
    finished="2026-01-01T12:00:00+00:00",
    total_seconds=30.0,
    rounds_seconds={},
    device_rounds_per_second={
        name: {"local": 900.0, "fedavg": 900.0, "public-logits": 900.0}
        for name in ("digits", "digits, Dirichlet 0.1")
    },
)
DIGITS = Split(dataset="digits", data=None, dirichlet=None)
SKEWED = Split(dataset="digits", data=None, dirichlet=0.1)
METHODS = ("local", "fedavg", "public-logits")
CONFIG = {"comparison": {"command": "fedstill-sim compare digits --out DIR"}}


def a_run(method: str, seed: int, *, personal: float, everyone: float, uplink: float) -> RunResult:
    base = sample_result(devices=2, rounds=2, baselines=())
    final = dataclasses.replace(
        base.final,
        personal_accuracy=personal,
        global_accuracy=everyone,
        worst_device_accuracy=personal - 0.1,
        uplink_bytes_per_device_round=uplink,
        downlink_bytes_per_device_round=uplink,
        max_abs_logit_difference=seed * 1e-6,
    )
    return dataclasses.replace(base, method=method, seed=seed, final=final)


def some_runs(*seeds: int) -> list[RunResult]:
    return [
        run
        for seed in seeds
        for run in (
            a_run("local", seed, personal=0.90 + seed / 100, everyone=0.70, uplink=40.0),
            a_run("fedavg", seed, personal=0.85, everyone=0.90, uplink=20_000.0),
            a_run("public-logits", seed, personal=0.92 + seed / 100, everyone=0.91, uplink=800.0),
        )
    ]


def together(*splits: SplitRuns, references: tuple[str, ...] = BASELINES) -> ComparisonResult:
    return compare_runs(
        splits, methods=METHODS, seeds=range(3), references=references, config=CONFIG, timing=TIMING
    )


@pytest.fixture
def comparison() -> ComparisonResult:
    return together(SplitRuns(split=DIGITS, finished=tuple(some_runs(0, 1, 2))))


@pytest.fixture
def broken() -> ComparisonResult:
    """Two splits; on the second, a seed of fedavg and all of local have failed."""
    some = [run for run in some_runs(0, 1, 2) if run.method != "local"]
    kept = [run for run in some if (run.method, run.seed) != ("fedavg", 1)]
    failed = (
        FailedRun(method="fedavg", seed=1, reason="a worker | ran out of memory"),
        *(FailedRun(method="local", seed=seed, reason="diverged at 50 % & more") for seed in range(3)),
    )
    return together(
        SplitRuns(split=DIGITS, finished=tuple(some_runs(0, 1, 2))),
        SplitRuns(split=SKEWED, finished=tuple(kept), failed=failed),
        references=("fedavg",),
    )


def test_means_and_paired_differences(comparison: ComparisonResult) -> None:
    (split,) = comparison.splits
    own = split.methods["public-logits"]
    advantage = next(one for one in split.advantages if one.baseline == "local")

    # 0.92, 0.93, 0.94: s = 0.01, t(0.975, 2) = 4.3027, 4.3027 * 0.01 / sqrt(3) = 0.024841
    assert own.personal_accuracy.mean == pytest.approx(0.93)
    assert own.personal_accuracy.half_width == pytest.approx(0.024841, abs=1e-6)
    # The seeds differ by 2 points each time: paired, there is no doubt at all.
    assert advantage.personal_accuracy.mean == pytest.approx(0.02)
    assert advantage.personal_accuracy.half_width == pytest.approx(0.0, abs=1e-9)
    assert own.max_abs_logit_difference == 2e-6


def test_a_difference_is_of_the_seeds_that_both_have(broken: ComparisonResult) -> None:
    split = broken.splits[1]

    assert (split.methods["fedavg"].seeds, split.methods["public-logits"].seeds) == ((0, 2), (0, 1, 2))
    assert "local" not in split.methods
    (difference,) = split.advantages
    assert (difference.method, difference.baseline, difference.seeds) == ("public-logits", "fedavg", (0, 2))
    # 0.92 - 0.85 and 0.94 - 0.85: mean 0.08, s = 0.0141421, t(0.975, 1) = 12.7062, over sqrt(2): 0.127062
    assert difference.personal_accuracy.mean == pytest.approx(0.08)
    assert difference.personal_accuracy.half_width == pytest.approx(0.127062, abs=1e-6)
    assert difference.bytes_ratio == pytest.approx(0.04)
    assert broken.failed == 4


def test_the_frontier_holds_what_no_other_beats() -> None:
    runs = [
        a_run(name, 0, personal=personal, everyone=0.5, uplink=uplink)
        for name, personal, uplink in (
            ("a", 0.90, 100.0),
            ("beaten", 0.89, 100.0),
            ("b", 0.95, 300.0),
            ("worse for more", 0.94, 400.0),
            ("same for more", 0.95, 500.0),
        )
    ]
    one = compare_runs(
        [SplitRuns(split=DIGITS, finished=tuple(runs))],
        methods=[run.method for run in runs],
        seeds=[0],
        references=(),
        config=CONFIG,
        timing=TIMING,
    )
    methods: list[MethodEstimate] = list(one.splits[0].methods.values())

    assert [method.method for method in frontier(methods, "personal_accuracy")] == ["a", "b"]


def test_csv_reads_back_as_the_same_numbers(broken: ComparisonResult) -> None:
    means = list(csv.DictReader(io.StringIO(means_csv(broken))))
    differences = list(csv.DictReader(io.StringIO(differences_csv(broken))))
    runs = list(csv.DictReader(io.StringIO(runs_csv(broken))))

    assert [(row["dirichlet"], row["method"], row["finished"]) for row in means] == [
        ("", "local", "3"), ("", "fedavg", "3"), ("", "public-logits", "3"),
        ("0.1", "local", "0"), ("0.1", "fedavg", "2"), ("0.1", "public-logits", "3"),
    ]  # fmt: skip
    estimate = broken.splits[1].methods["public-logits"].personal_accuracy
    assert float(means[5]["personal_accuracy_mean"]) == estimate.mean
    assert float(means[5]["personal_accuracy_low"]) == estimate.low
    assert means[3]["personal_accuracy_mean"] == ""
    assert [float(row["personal_accuracy_mean"]) for row in differences] == [
        one.personal_accuracy.mean for split in broken.splits for one in split.advantages
    ]
    assert len(runs) == 18
    assert [row["reason"] for row in runs if row["status"] == "failed"] == [
        "a worker | ran out of memory", *["diverged at 50 % & more"] * 3
    ]  # fmt: skip
    of_seed_1 = [row for row in runs if (row["method"], row["seed"]) == ("local", "1")]
    assert [row["personal_accuracy"] for row in of_seed_1] == ["0.91", ""]


def test_latex_reads_back_row_by_row(broken: ComparisonResult) -> None:
    source = latex(broken)

    table, differences = re.findall(r"\\begin\{tabular\}\{(.*?)\}\n(.*?)\\end\{tabular\}", source, re.DOTALL)
    for columns, body in (table, differences):
        rows = [line for line in body.splitlines() if line.endswith("\\\\")]
        assert all(len(row.split(" & ")) == len(columns) for row in rows if "multicolumn" not in row)
        assert body.count("multicolumn") == 2
        assert [body.count(f"\\{rule}rule") for rule in ("top", "mid", "bottom")] == [1, 2, 1]
    assert "public-logits & 3 & \\textbf{93.0} $\\pm$ 2.5 & \\textbf{91.0}" in table[1]
    assert "fedavg & 2/3 & 85.0 $\\pm$ 0.0" in table[1]
    assert "local & 0/3 & -- & -- & -- & -- & -- & -- \\\\" in table[1]
    assert "public-logits & fedavg & 2 & $+8.0$ $\\pm$ 12.7" in differences[1]
    assert source.count("{") == source.count("}")


def test_markdown_has_a_cell_for_each_column(broken: ComparisonResult) -> None:
    text = markdown(broken)

    table = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert {len(row) for row in cells} == {9}
    assert cells[6][:5] == ["digits, Dirichlet 0.1: 2 devices", "fedavg", "2/3", "85.0 ± 0.0", "90.0 ± 0.0"]
    assert "- digits, Dirichlet 0.1, fedavg, seed 1: a worker | ran out of memory" in text


def test_verdicts_name_the_method_and_the_baseline(comparison: ComparisonResult) -> None:
    lines = [(line.outcome, line.text) for line in comparison.splits[0].verdicts]

    assert ("good", "public-logits: personal accuracy 93.0 %, 2.0 ± 0.0 points above local (91.0 %)") in lines
    assert ("good", "public-logits: up and down 1.6 kB a device-round, 1/25 of fedavg's (40 kB)") in lines
    assert len(lines) == 5


def test_bytes_add_up_round_by_round(comparison: ComparisonResult) -> None:
    rounds = comparison.splits[0].methods["local"].rounds

    assert [one.bytes_so_far_per_device for one in rounds] == [2 * 842.0, 4 * 842.0]


def test_read_back_it_is_the_same(comparison: ComparisonResult, tmp_path: Path) -> None:
    write_comparison(comparison, tmp_path / "compare.json")

    assert read_comparison(tmp_path / "compare.json") == comparison


def test_a_fleet_without_tests_cannot_be_compared() -> None:
    run = a_run("local", 0, personal=0.9, everyone=0.9, uplink=1.0)
    without = dataclasses.replace(run, final=dataclasses.replace(run.final, personal_accuracy=None))

    with pytest.raises(ResultError, match="need test examples"):
        together(SplitRuns(split=DIGITS, finished=(without,)))


def test_its_page_is_well_formed_and_asks_for_nothing(
    comparison: ComparisonResult, broken: ComparisonResult
) -> None:
    page = render_comparison(comparison)

    assert [one for one in Page(page).addresses if not one.startswith("#")] == []
    assert "93.0" in page
    assert "± 2.5" in page
    assert "1/25" in page
    assert "Failed runs" not in page
    assert "Accuracy by split" not in page

    both = render_comparison(broken)
    assert Page(both).open == []
    assert "diverged at 50 % &amp; more" in both
    assert "2/3" in both
    assert "Accuracy by split" in both
    clips = re.findall(r'<clipPath id="([^"]+)"', both)
    assert len(clips) == len(set(clips)) > 0
