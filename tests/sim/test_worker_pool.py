"""Worker processes: as many as pay, one thread each, gone when their parent is."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from fedstill_sim.engine import groups
from fedstill_sim.engine.groups import fitting_workers, worthwhile_processes
from fedstill_sim.workers.calls import WorkerLost
from fedstill_sim.workers.growing import GrowingPool
from fedstill_sim.workers.pool import InlineExecutor, WorkerPool, start_workers

PARENT = """
import os, time
from fedstill_sim.workers.pool import start_workers
if __name__ == "__main__":
    workers = start_workers(2)
    print(*{workers.submit(os.getpid).result() for _ in range(20)}, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(("stacks", "processes"), [(1, 0), (15, 0), (16, 2), (31, 3), (400, 4)])
def test_small_fleets_need_no_processes(monkeypatch: pytest.MonkeyPatch, stacks: int, processes: int) -> None:
    monkeypatch.setattr(groups, "usable_cores", lambda: 4)
    assert worthwhile_processes(stacks) == processes


def test_workers_start_when_they_are_worth_it() -> None:
    with GrowingPool(2, start_seconds=0.1) as workers:
        first = workers.submit(os.getpid).result()
        assert (workers.started, first) == (0, os.getpid())
        workers.submit(time.sleep, 0.1)
        assert workers.started == 2
        assert workers.submit(os.getpid).result() != os.getpid()


def test_a_fleet_of_one_stack_never_has_workers() -> None:
    assert isinstance(fitting_workers(1), InlineExecutor)


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


# Programs that have no guard, or that are no file at all

PROGRAM = """
import os
from fedstill_sim.workers.pool import start_workers
print("begun")
with start_workers(2) as workers:
    processes = {workers.submit(os.getpid).result() for _ in range(20)}
    print(os.getpid() not in processes, 0 < len(processes) <= 2)
"""


def run_python(*arguments: str | Path, program: str | None = None) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], input=program, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_script_without_a_guard_starts_workers_once(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    assert run_python(tmp_path / "program.py") == "begun\nTrue True\n"


def test_a_program_on_standard_input_starts_workers() -> None:
    assert run_python("-", program=PROGRAM) == "begun\nTrue True\n"


def test_a_program_in_the_command_starts_workers() -> None:
    assert run_python("-c", PROGRAM) == "begun\nTrue True\n"


def test_a_module_beside_the_script_is_found_by_its_workers(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("def doubled(number):\n    return 2 * number\n")
    (tmp_path / "program.py").write_text(
        "from beside import doubled\nfrom fedstill_sim.workers.pool import start_workers\n"
        "with start_workers(1) as workers:\n    print(workers.submit(doubled, 21).result())\n"
    )
    assert run_python(tmp_path / "program.py") == "42\n"


# Workers that fail


def test_what_a_call_raises_is_raised_here_with_the_workers_own_traceback() -> None:
    with start_workers(1) as workers, pytest.raises(ValueError, match="invalid literal") as raised:
        workers.submit(int, "x").result()
    assert any("in worker process" in note for note in raised.value.__notes__)


def test_a_call_that_kills_every_worker_fails_with_all_that_wait() -> None:
    with start_workers(1) as workers:
        calls = [workers.submit(os._exit, 3), *(workers.submit(os.getpid) for _ in range(3))]
        for call in calls:
            with pytest.raises(WorkerLost, match=r"ended with exit code 3.*same work has cost 3 workers"):
                call.result(timeout=60)
        with pytest.raises(WorkerLost):
            workers.submit(os.getpid)


def test_the_call_of_a_worker_that_is_killed_is_done_again(tmp_path: Path) -> None:
    with WorkerPool(2) as workers:
        before = workers.process_ids
        been = str(tmp_path / "been")  # by the first worker that makes the call: it is killed
        module = "__import__('os')"
        call = workers.submit(
            eval,
            f"7 if {module}.path.exists({been!r}) else "
            f"({module}.mkdir({been!r}), {module}.kill({module}.getpid(), 9))",
        )
        others = [workers.submit(abs, -number) for number in range(20)]
        assert call.result(timeout=60) == 7
        assert [other.result(timeout=60) for other in others] == list(range(20))
        deadline = time.monotonic() + 60
        while workers.workers < 2:  # the next one is starting
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert workers.losses == 1
        assert len(set(before) & set(workers.process_ids)) == 1


def test_an_answer_that_cannot_be_sent_is_said_to_be_one() -> None:
    with start_workers(1) as workers:
        with pytest.raises(WorkerLost, match="answer cannot be sent"):
            workers.submit(threading.Lock).result(timeout=30)
        assert workers.submit(abs, -1).result(timeout=30) == 1


def test_work_that_is_cancelled_ends_at_once() -> None:
    workers = start_workers(1)
    assert workers.submit(abs, -1).result() == 1
    began = time.monotonic()
    running = workers.submit(time.sleep, 60)
    waiting = workers.submit(time.sleep, 60)
    while not running.running():
        time.sleep(0.01)
    workers.shutdown(cancel_futures=True)
    assert time.monotonic() - began < 30
    assert waiting.cancelled()
    assert isinstance(running.exception(timeout=5), WorkerLost)
