"""Worker processes behind the standard Executor: one thread each, no orphans, no torch."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Executor, Future
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeVar

from fedstill_sim.workers.process import WorkerLost, WorkerProcess

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

# What numpy's libraries read, once, when they are loaded.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

_Call = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class InlineExecutor(Executor):
    """Runs each call in this process when it is submitted."""

    def submit(
        self, fn: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Future[Result]:
        """Return the finished future; what the call raises is raised here."""
        future: Future[Result] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class WorkerPool(Executor):
    """Worker processes that take calls from one queue; the functions are modules' own.

    A call fails with what its function raised in the worker, or with `WorkerLost`. When a worker is lost, all
    calls that wait fail with it.
    """

    def __init__(self, processes: int) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._lost: WorkerLost | None = None
        self._workers = [WorkerProcess(serve_calls, environment=_ONE_THREAD) for _ in range(processes)]
        self._threads = [
            threading.Thread(target=self._feed, args=(worker,), daemon=True) for worker in self._workers
        ]
        for thread in self._threads:
            thread.start()

    @property
    def process_ids(self) -> tuple[int, ...]:
        """The numbers that the system knows the workers by."""
        return tuple(worker.process_id for worker in self._workers)

    def submit(
        self, fn: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Future[Result]:
        """Queue a call for the next idle worker.

        Raises:
            WorkerLost: A worker has ended; the pool takes no more calls.
        """
        if self._lost is not None:
            raise self._lost
        future: Future[Result] = Future()
        self._calls.put((future, fn, args, kwargs))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers: at once with `cancel_futures`, else when all calls are done."""
        if cancel_futures:
            self._drain()
            for worker in self._workers:
                worker.end()
        for _ in self._threads:
            self._calls.put(None)
        if wait or not cancel_futures:
            for thread in self._threads:
                thread.join()
        if not cancel_futures:
            for worker in self._workers:
                worker.end()

    def _feed(self, worker: WorkerProcess) -> None:
        """Give a worker call after call (in a thread of this process)."""
        while (call := self._calls.get()) is not None:
            future, *work = call
            if not future.set_running_or_notify_cancel():
                continue
            try:
                worker.send(work)
                returned, value = worker.receive()
            except WorkerLost as lost:
                self._lost = lost
                future.set_exception(lost)
                self._drain(lost)
                return
            except Exception as error:  # the call itself cannot be sent
                future.set_exception(error)
                continue
            if returned:
                future.set_result(value)
            else:
                future.set_exception(value)

    def _drain(self, error: WorkerLost | None = None) -> None:
        """Empty the queue; the calls in it are cancelled, or fail with the error."""
        while True:
            try:
                call = self._calls.get_nowait()
            except Empty:
                return
            if call is None:
                continue
            if error is None:
                call[0].cancel()
            elif call[0].set_running_or_notify_cancel():
                call[0].set_exception(error)


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


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
