"""Supervisor of a long-running program: kept alive, logged, ended; also those of a parent that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from fedstill_proto.system.supervisor import (
    ChildProcess,
    Supervisor,
    SupervisorError,
    end_leftovers,
    flower_environment,
)

SLEEP = [sys.executable, "-c", "print('hello', flush=True); import time; time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('up', flush=True); time.sleep(600)",
]


def wait_until(holds: Callable[[], object], *, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_one_that_ends_is_started_again_and_all_are_ended(tmp_path: Path) -> None:
    with Supervisor(tmp_path / "children.json") as children:
        child = children.start(ChildProcess("sleeper", SLEEP, tmp_path / "logs" / "sleeper.log"))
        first = child.pid
        assert first is not None
        wait_until(lambda: "hello" in child.log_tail())
        os.kill(first, signal.SIGKILL)
        again: list[str] = []
        wait_until(lambda: children.poll(lambda each: again.append(each.name)) or again)
        second = child.pid
        assert second not in (None, first)
    assert again == ["sleeper"]
    assert not is_alive(second or 0)
    assert not (tmp_path / "children.json").exists()


def test_one_that_ends_at_once_is_started_ever_more_slowly(tmp_path: Path) -> None:
    child = ChildProcess("brief", [sys.executable, "-c", "pass"], tmp_path / "log")
    child.start()
    started, pauses = time.monotonic(), []
    while len(pauses) < 2:
        if child.restart_if_due():
            pauses.append(time.monotonic() - started)
            started = time.monotonic()
        time.sleep(0.01)
    assert pauses[0] >= 1.0
    assert pauses[1] >= 2.0
    assert child.process is not None
    child.process.wait()


def test_the_next_parent_ends_what_a_killed_one_left(tmp_path: Path) -> None:
    record = tmp_path / "children.json"
    parent = (
        "import os, sys; from pathlib import Path\n"
        "from fedstill_proto.system.supervisor import ChildProcess, Supervisor\n"
        f"child = ChildProcess('c', {SLEEP!r}, Path({str(tmp_path / 'log')!r}))\n"
        f"Supervisor(Path({str(record)!r})).start(child)\n"
        "print(child.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True)
    orphan = int(done.stdout)
    assert is_alive(orphan)
    assert end_leftovers(record) == 1
    assert not is_alive(orphan)


def test_a_stranger_that_got_an_old_pid_is_left_alone(tmp_path: Path) -> None:
    record = tmp_path / "children.json"
    stranger = subprocess.Popen(SLEEP, stdout=subprocess.DEVNULL)
    try:
        record.write_text(f'[{{"pid": {stranger.pid}, "created": 1.0}}, {{"pid": "x"}}, 7]')
        assert end_leftovers(record) == 0
        assert is_alive(stranger.pid)
    finally:
        stranger.kill()
        stranger.wait()


def test_one_that_does_not_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedstill_proto.system.supervisor._GRACE_S", 0.3)
    children = Supervisor(tmp_path / "children.json")
    child = children.start(ChildProcess("stubborn", STUBBORN, tmp_path / "log"))
    wait_until(lambda: "up" in child.log_tail())
    children.stop()
    assert not child.is_running()


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SupervisorError, match=r"ghost: .*no-such-program cannot be started"):
        ChildProcess("ghost", [str(tmp_path / "no-such-program")], tmp_path / "log").start()


def test_flower_s_programs_report_to_nobody(tmp_path: Path) -> None:
    variables = flower_environment(tmp_path)
    assert variables["FLWR_TELEMETRY_ENABLED"] == "0"
    assert variables["FLWR_DISABLE_UPDATE_CHECK"] == "1"
    assert variables["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
