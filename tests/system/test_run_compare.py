"""A comparison from the command line: one run a method and seed, and what they say together."""

import json
import re
import shutil
from pathlib import Path

import pytest
from fedstill_proto.system.sealed import seal_by_hand
from fedstill_sim.cli import app
from fedstill_sim.compare.result import read_comparison
from fedstill_sim.results.run_result import read_result, without_times
from typer.testing import CliRunner, Result

WORDS = ("compare", "digits", "--methods", "local,fedavg,class-logits", "--seeds", "2", "--devices", "3")
WORDS += ("--families", "mlp-small", "--dirichlet", "1", "--rounds", "1", "--epochs", "1", "--processes", "0")


def fedstill_sim(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished comparison."""
    out = tmp_path_factory.mktemp("compared") / "first"
    done = fedstill_sim(*WORDS, "--out", out)
    assert done.exit_code == 0, done.output
    return out


def test_means_are_those_of_the_runs(folder: Path) -> None:
    comparison = read_comparison(folder / "compare.json")
    runs = [read_result(folder / "runs" / f"fedavg-seed{seed}" / "result.json") for seed in (0, 1)]

    assert comparison.seeds == (0, 1)
    assert comparison.methods == ("local", "fedavg", "class-logits")
    (split,) = comparison.splits
    fedavg = split.methods["fedavg"].global_accuracy
    assert fedavg.values == tuple(run.final.global_accuracy for run in runs)
    assert runs[0].data.description == runs[1].data.description
    assert runs[0].devices != runs[1].devices  # a seed splits the data anew


def test_methods_of_a_seed_start_from_the_same_data(folder: Path) -> None:
    one, other = (
        read_result(folder / "runs" / f"{name}-seed1" / "result.json") for name in ("local", "fedavg")
    )

    assert [device.class_counts for device in one.devices] == [
        device.class_counts for device in other.devices
    ]


def test_the_verdicts_stand_in_the_report(folder: Path) -> None:
    comparison = read_comparison(folder / "compare.json")
    page = (folder / "compare.html").read_text()

    assert len(comparison.splits[0].verdicts) == 5  # two accuracies against both, bytes against fedavg
    assert "class-logits: up and down" in page


def test_a_stopped_comparison_goes_on_with_two_runs_at_a_time_and_does_nothing_again(folder: Path) -> None:
    whole = json.loads((folder / "compare.json").read_text())
    missing = [folder / "runs" / name for name in ("fedavg-seed1", "class-logits-seed1")]
    (folder / "compare.json").unlink()
    for run in missing:
        shutil.rmtree(run)  # as if it had been killed before the last two
    made = {path: path.stat().st_mtime_ns for path in (folder / "runs").glob("*/result.json")}
    assert len(made) == 4

    done = fedstill_sim("resume", folder, "--jobs", "2", "--json")

    assert done.exit_code == 0, done.output
    assert "6 runs, 4 done before" in done.stderr
    assert "6/6 runs" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert without_times(json.loads(done.stdout)) == without_times(whole)
    assert without_times(json.loads((folder / "compare.json").read_text())) == without_times(whole)


def test_a_run_that_fails_is_shown_and_can_be_made_again(folder: Path) -> None:
    whole = json.loads((folder / "compare.json").read_text())
    broken = folder / "runs" / "class-logits-seed0"
    (folder / "compare.json").unlink()
    (broken / "result.json").unlink()
    config = (broken / "config.json").read_text()
    (broken / "config.json").write_text(config.replace('"rounds": 1', '"rounds": 0'))
    seal_by_hand(broken / "config.json")

    done = fedstill_sim("resume", folder, "--no-report")

    assert done.exit_code == 1, done.output
    assert re.search(r"class-logits +1/2 ", done.stdout)
    assert "seed 0" in done.stdout
    assert "rounds: 0 is not 1 or more" in done.stdout
    comparison = read_comparison(folder / "compare.json")
    assert [(run.method, run.seed) for run in comparison.splits[0].failed] == [("class-logits", 0)]
    assert comparison.splits[0].methods["class-logits"].seeds == (1,)
    assert fedstill_sim("resume", folder, "--no-report").exit_code == 1  # it stays as it is

    (broken / "config.json").write_text(config)
    again = fedstill_sim("resume", folder, "--retry-failed", "--markdown", "-", "--no-report")

    assert again.exit_code == 0, again.output
    assert "| class-logits | 2 |" in again.stdout
    assert without_times(json.loads((folder / "compare.json").read_text())) == without_times(whole)


def test_its_folder_is_not_overwritten(folder: Path) -> None:
    done = fedstill_sim(*WORDS, "--out", folder)

    assert done.exit_code == 2
    assert "resume" in done.output
