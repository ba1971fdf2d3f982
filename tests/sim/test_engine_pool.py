"""Worker processes: as many as pay, one thread each, gone when their parent is."""

import os
import subprocess
import sys
import time

import psutil
import pytest
from fedstill_sim.engine import pool
from fedstill_sim.engine.pool import start_workers, worthwhile_processes

PARENT = """
import os, time
from fedstill_sim.engine.pool import start_workers
if __name__ == "__main__":
    workers = start_workers(2)
    print(*{workers.submit(os.getpid).result() for _ in range(20)}, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(("stacks", "processes"), [(1, 0), (15, 0), (16, 2), (31, 3), (400, 4)])
def test_small_fleets_need_no_processes(monkeypatch: pytest.MonkeyPatch, stacks: int, processes: int) -> None:
    monkeypatch.setattr(pool, "usable_cores", lambda: 4)
    assert worthwhile_processes(stacks) == processes


def test_workers_are_told_to_use_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with start_workers(1) as workers:
        assert workers.submit(os.getenv, "OMP_NUM_THREADS").result() == "1"
    assert "OMP_NUM_THREADS" not in os.environ


def test_inline_work_raises_what_it_raises() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        start_workers(0).submit(int, "x")


def test_workers_end_when_their_parent_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert workers
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 20
    while any(_is_alive(worker) for worker in workers):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.05)


def _is_alive(process: int) -> bool:
    """A zombie, which its new parent has not buried yet, is dead."""
    return psutil.pid_exists(process) and psutil.Process(process).status() != psutil.STATUS_ZOMBIE
