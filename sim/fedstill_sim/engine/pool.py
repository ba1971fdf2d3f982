"""Worker processes behind the standard Executor: one thread each, no orphans, no torch."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import Any, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

# What numpy's libraries read, once, when they are loaded.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

# Fewer stacks than this in a round take less time than a process takes to start.
_FEWEST_STACKS = 8


class InlineExecutor(Executor):
    """Does each job when it is submitted, in this process."""

    def submit(
        self, fn: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Future[Result]:
        """The finished future; what the job raises is raised here."""
        future: Future[Result] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def start_workers(processes: int) -> Executor:
    """An executor of this many processes, all started; 0 works in this process."""
    if processes == 0:
        return InlineExecutor()
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(processes, mp_context=context, initializer=end_with_parent)
    with environment(_ONE_THREAD):
        # A pool starts a process when a job finds none idle: these jobs start all of them, while the
        # environment says one thread.
        for _ in range(processes):
            executor.submit(os.getpid)
    return executor


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worthwhile_processes(stacks: int) -> int:
    """One a core, but none that would have only a few stacks to do in a round; 0 for a small fleet."""
    processes = min(usable_cores(), stacks // _FEWEST_STACKS)
    return processes if processes > 1 else 0


def end_with_parent() -> None:
    """A pool's workers wait for jobs for ever when their parent is killed; these notice and go."""
    # Ctrl-C reaches every process of a terminal; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables for as long as the block runs; the processes it starts keep them."""
    before: dict[str, Any] = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
