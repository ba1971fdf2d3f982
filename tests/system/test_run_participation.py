"""Runs whose devices come, go and dawdle: the same bits on any number of processes, killed or not."""

import json
from pathlib import Path

import pytest
from fedstill_sim.cli import app
from fedstill_sim.results.run_result import Json, read_result, without_times
from typer.testing import CliRunner, Result

from tests.system.test_run_resume import kill_when

WORDS = ("run", "digits", "--method", "class-logits", "--devices", "8", "--rounds", "5", "--epochs", "1")
WORDS += ("--families", "mlp-small", "--baselines", "none", "--no-tradeoff", "--mode", "async")
WORDS += (
    "--buffer",
    "3",
    "--max-age",
    "2",
    "--stragglers",
    "0.25",
    "--vanish",
    "0.13",
    "--join-late",
    "0.25",
)


def fedstill_sim(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody killed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    done = fedstill_sim(*WORDS, "--processes", "0", "--out", out)
    assert done.exit_code == 0, done.output
    assert "tasks led to a summary that counted" in " ".join(done.output.split())
    return out


def document(folder: Path) -> Json:
    return without_times(json.loads((folder / "result.json").read_text()))


def test_a_result_says_who_took_part(whole: Path) -> None:
    result = read_result(whole / "result.json")

    seconds = [one.clock_s or 0 for one in result.rounds]
    assert seconds[0] > 0
    assert seconds == sorted(seconds)
    assert result.rounds[0].present == 6  # two of eight join late
    assert max(one.mean_age or 0 for one in result.rounds) > 0
    counted = [one.summaries_counted for one in result.devices]
    assert sum(counted) == sum(one.accepted for one in result.rounds)
    assert max(counted) > 1 + min(counted)
    assert "Who took part" in (whole / "report.html").read_text()
    assert not (whole / "pending_replies.db").exists()


def test_killed_and_resumed_on_another_number_of_processes_it_is_the_same(
    whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    reached = out / "server" / "checkpoints" / "round-000002.safetensors"
    kill_when(reached.exists, [*WORDS, "--processes", "1", "--no-report", "--out", str(out)])
    assert not (out / "result.json").exists()

    done = fedstill_sim("resume", out, "--no-report")

    assert done.exit_code == 0, done.output
    assert document(out) == document(whole)


def test_virtual_time_needs_the_engine_that_has_it(tmp_path: Path) -> None:
    done = fedstill_sim("run", "--engine", "flower", "--vanish", "0.1", "--out", tmp_path / "run")

    assert done.exit_code == 2
    assert "--vanish is a matter of virtual time" in done.output
    assert "--buffer belongs to --mode async" in fedstill_sim("run", "--buffer", "3", "-o", tmp_path).output
