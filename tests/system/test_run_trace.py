"""Runs that live by a trace: the same bits on any number of processes, killed or not, and what is refused."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from fedstill_sim.cli import app
from fedstill_sim.results.run_result import Json, read_result, without_times
from typer.testing import CliRunner, Result

from tests.system.test_run_resume import kill_when

WORDS = ("run", "digits", "--method", "class-logits", "--devices", "24", "--rounds", "6", "--epochs", "1")
WORDS += ("--families", "mlp-small", "--baselines", "none", "--trace", "generated:churn=0.2,zones=1")
WORDS += ("--goal-count", "5", "--over-selection", "1.6", "--rounds-a-day", "3", "--round-pause", "1800")
WORDS += ("--device-seconds", "400", "--setup-seconds", "5")


def fedstill_sim(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody killed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    done = fedstill_sim(*WORDS, "--processes", "0", "--out", out, "--no-report")
    assert done.exit_code == 0, done.output
    return out


def document(folder: Path) -> Json:
    return without_times(json.loads((folder / "result.json").read_text()))


def test_rounds_follow_the_pace_and_the_trace(whole: Path) -> None:
    rounds = read_result(whole / "result.json").rounds
    seconds = [one.clock_s or 0 for one in rounds]
    assert all(one.present < 24 for one in rounds)  # somebody is always elsewhere
    assert all(after - before >= 1800 for before, after in itertools.pairwise(seconds))
    assert all(one.accepted <= 5 for one in rounds)
    for day in range(4):
        assert sum(day * 86400 <= second < (day + 1) * 86400 for second in seconds) <= 4


def test_energy_is_counted_by_phase_and_device(whole: Path) -> None:
    """Every task counts, of those whose answers came too late or never, too; the file adds up to the sums."""
    result = read_result(whole / "result.json")
    energy = result.energy
    assert energy is not None
    assert energy.tasks == sum(one.asked for one in result.rounds)
    with np.load(whole / energy.file) as columns:
        for phase, joules in energy.joules.items():
            assert columns[phase].shape == (24,)
            assert columns[phase].sum() == pytest.approx(joules)
        assert (columns["training"][columns["tasks"] == 0] == 0).all()
        assert (columns["answers"] <= columns["tasks"]).all()
    assert sum(energy.joules.values()) == pytest.approx(energy.joules_per_task * energy.tasks)


def test_killed_and_resumed_on_another_number_of_processes_it_is_the_same(
    whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    reached = out / "server" / "checkpoints" / "round-000003.safetensors"
    kill_when(reached.exists, [*WORDS, "--processes", "1", "--no-report", "--out", str(out)])
    assert not (out / "result.json").exists()

    done = fedstill_sim("resume", out, "--no-report")
    assert done.exit_code == 0, done.output
    assert document(out) == document(whole)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--rounds-a-day", "3"), "--rounds-a-day belongs to --trace"),
        (("--trace", "generated", "--stragglers", "0.1"), "--stragglers"),
        (("--trace", "generated", "--engine", "flower"), "virtual time"),
        (("--trace", "generated:naps=3"), "naps"),
        (("--trace", "no/such"), "no such folder"),
        (("--trace", "generated", "--least-devices", "10"), "needs 10 devices at a time"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_done(
    tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    done = fedstill_sim("run", "digits", "--devices", "10", *words, "--out", tmp_path / "run")
    assert done.exit_code == 2
    assert told in " ".join(done.output.split())
    assert not (tmp_path / "run").exists()
