"""A killed run goes on where it was, and ends as if it had never been killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fedstill_sim.cli import app
from fedstill_sim.results.run_result import Json, without_times
from typer.testing import CliRunner

WORDS = ("run", "digits", "--method", "public-logits", "--devices", "3", "--rounds", "3", "--epochs", "1")
WORDS += (
    "--families",
    "mlp-small",
    "--public-batch",
    "20",
    "--baselines",
    "fedavg",
    "--seed",
    "3",
    "--processes",
    "1",
    "--tradeoff",
)

FIRST_ROUND = "server/checkpoints/round-000001.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Json:
    """The result of the run that nobody killed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    done = CliRunner().invoke(app, [*WORDS, "--no-report", "--out", str(out)])
    assert done.exit_code == 0, done.output
    return json.loads((out / "result.json").read_text())


def test_killed_interrupted_and_killed_again_it_is_the_same(whole: Json, tmp_path: Path) -> None:
    """In its rounds, in a baseline, and in the trade-off."""
    out = tmp_path / "run"
    kill_when((out / FIRST_ROUND).exists, [*WORDS, "--out", str(out)])
    assert not (out / "result.json").exists()

    process = started(["resume", str(out)])
    wait_until((out / "baselines" / "fedavg" / FIRST_ROUND).exists, process)
    os.killpg(process.pid, signal.SIGINT)  # Ctrl-C reaches the workers, too
    _, said = process.communicate(timeout=60)

    assert process.returncode == 130
    assert f"fedstill-sim resume {out}" in said
    assert "Traceback" not in said
    assert not (out / "result.json").exists()

    kill_when((out / "tradeoff.partial").exists, ["resume", str(out)])
    assert not (out / "result.json").exists()

    done = CliRunner().invoke(app, ["resume", str(out), "--json"])

    assert done.exit_code == 0, done.output
    resumed = json.loads((out / "result.json").read_text())
    assert without_times(resumed) == without_times(whole)
    assert (out / "report.html").exists()


def kill_when(reached: Callable[[], bool], words: list[str]) -> None:
    """Start the command, and kill it (no clean-up, no goodbye) as soon as it has got so far."""
    process = started(words)
    wait_until(reached, process)
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL


def started(words: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from fedstill_sim.cli import main; main()", *words]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Tests that were started in a shell's background ignore Ctrl-C, and so would this.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_until(reached: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not reached():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.002)
