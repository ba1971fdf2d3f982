"""The template in examples/flower-app, run as its README says."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from fedstill_server.rounds.run_store import RunStore

TEMPLATE = Path(__file__).resolve().parents[2] / "examples" / "flower-app"
ROUNDS, DEVICES = 2, 3


@contextmanager
def flower_home() -> Iterator[dict[str, str]]:
    """An environment whose Flower ends with the block: `flwr run` leaves its SuperLink running."""
    # Sockets of Ray's lie in there, whose paths have a limit.
    with tempfile.TemporaryDirectory(prefix="fl-", dir="/tmp", ignore_cleanup_errors=True) as home:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        own = {"FLWR_HOME": home, "RAY_TMPDIR": home, "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": port}
        try:
            yield {**os.environ, **own, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        finally:
            end_processes(home)


def end_processes(home: str) -> None:
    """End all processes of this Flower, and wait until they have."""
    ours = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("FLWR_HOME") == home:
                process.terminate()
                ours.append(process)
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    for process in psutil.wait_procs(ours, timeout=10)[1]:
        process.kill()


@pytest.mark.slow
def test_flwr_run_learns(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    options = f'fedstill-rounds={ROUNDS} fedstill-folder="{folder}"'
    with flower_home() as environment:
        started = time.monotonic()
        done = subprocess.run(
            ["flwr", "run", ".", "--stream", "--run-config", options]
            + ["--federation-config", f"num-supernodes={DEVICES}"],
            cwd=TEMPLATE,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=230,
        )
        print(f"{time.monotonic() - started:.0f} s\n{done.stdout}{done.stderr}")
        assert done.returncode == 0

    store = RunStore(folder)
    records = store.records()
    store.close()
    start = json.loads((folder / "start.json").read_text())
    assert [record.accepted for record in records] == [DEVICES] * ROUNDS
    assert records[-1].global_accuracy is not None
    assert records[-1].global_accuracy > start["Net"] + 0.01
    assert f"round {ROUNDS}: personal" in done.stdout
