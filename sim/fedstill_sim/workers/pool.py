"""Worker processes behind the standard Executor: one thread each, no orphans, no torch."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from concurrent.futures import Executor, Future
from multiprocessing.connection import Connection
from typing import Any, ParamSpec, TypeVar

from fedstill_sim.workers.calls import QueueExecutor, Work, WorkerLost
from fedstill_sim.workers.process import WorkerProcess

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

# What numpy's libraries read, once, when they are loaded.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class InlineExecutor(Executor):
    """Runs each call in this process when it is submitted."""

    workers = 0

    def submit(
        self, fn: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Future[Result]:
        """Return the finished future; what the call raises is raised here."""
        future: Future[Result] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class WorkerPool(QueueExecutor):
    """Worker processes of this machine that take calls from one queue; the functions are modules' own.

    A worker that is lost is replaced, and its call is done again (see calls.py).
    """

    def __init__(self, processes: int) -> None:
        super().__init__([_PoolWorker] * processes)

    @property
    def process_ids(self) -> tuple[int, ...]:
        """The numbers that the system knows the workers by."""
        return tuple(worker.process_id for worker in self._workers if isinstance(worker, _PoolWorker))


class _PoolWorker:
    """A process that makes calls."""

    def __init__(self) -> None:
        self._process = WorkerProcess(serve_calls, environment=_ONE_THREAD)

    @property
    def process_id(self) -> int:
        return self._process.process_id

    def call(self, work: Work) -> tuple[bool, Any]:
        self._process.send(work)
        returned, value = self._process.receive()
        return returned, value

    def end(self) -> None:
        self._process.end()


def serve_calls(pipe: Connection) -> None:
    """Run in a worker: make each call that comes, and answer (True, result) or (False, error)."""
    while True:
        try:
            function, arguments, named = pipe.recv()
        except EOFError:
            return
        try:
            answer = (True, function(*arguments, **named))
        except Exception as error:
            error.add_note(f"in worker process {os.getpid()}:\n{traceback.format_exc()}")
            answer = (False, error)
        try:
            pipe.send(answer)
        except Exception as error:  # nothing has been sent yet: the answer cannot be written as bytes
            pipe.send((False, WorkerLost(f"a worker's answer cannot be sent ({error}): {answer[1]!r:.500}")))


def start_workers(processes: int) -> Executor:
    """Return an executor of this many processes, all started; 0 works in this process."""
    return InlineExecutor() if processes == 0 else WorkerPool(processes)


def workers_of(executor: Executor) -> int:
    """Return how many workers an executor says it has; of one that does not, one a core is assumed."""
    workers = getattr(executor, "workers", None)
    return workers if isinstance(workers, int) else usable_cores()


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
