"""A comparison from the command line: one run a method and seed, and what they say together."""

import json
from pathlib import Path

import pytest
from fedstill_sim.cli import app
from fedstill_sim.comparison import read_comparison
from fedstill_sim.result import read_result, without_times
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
    assert list(comparison.methods) == ["local", "fedavg", "class-logits"]
    fedavg = comparison.methods["fedavg"].global_accuracy
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

    assert len(comparison.verdicts) == 5  # personal and global against both, and bytes against fedavg
    assert "class-logits: uplink" in page


def test_a_comparison_that_was_stopped_goes_on(folder: Path) -> None:
    whole = json.loads((folder / "compare.json").read_text())
    for path in (folder / "compare.json", folder / "runs" / "class-logits-seed1" / "result.json"):
        path.unlink()

    done = fedstill_sim("resume", folder, "--json")

    assert done.exit_code == 0, done.output
    assert without_times(json.loads(done.stdout)) == without_times(whole)
    assert without_times(json.loads((folder / "compare.json").read_text())) == without_times(whole)


def test_its_folder_is_not_overwritten(folder: Path) -> None:
    done = fedstill_sim(*WORDS, "--out", folder)

    assert done.exit_code == 2
    assert "resume" in done.output
