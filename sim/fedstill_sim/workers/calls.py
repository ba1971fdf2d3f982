"""Calls that workers take from one queue; the call of a worker that is lost is done again by another.

A call is a module's function and its arguments. It may run twice: a worker that dies in the middle of one
leaves it to the next, so what a call writes must be the same each time.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, ParamSpec, Protocol, TypeVar

from fedstill_proto.errors import FedstillError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

Work = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
"""A module's function, its arguments, and those that are named."""

MOST_LOSSES = 3  # workers that one call may cost: a call that needs too much memory kills every one

log = logging.getLogger("fedstill.sim")


class WorkerLost(FedstillError):
    """A worker process ended in the middle of its work."""


class Worker(Protocol):
    """What makes one call at a time, elsewhere."""

    def call(self, work: Work) -> tuple[bool, Any]:
        """Return (True, result), or (False, what the function raised).

        Raises:
            WorkerLost: The worker has ended, and the call may be made by another.
        """

    def end(self) -> None:
        """End the worker, whatever it is doing; it may have ended before."""


Start = Callable[[], Worker]
"""Starts a worker, at first or in place of one that is lost; raises WorkerLost where there can be none."""


@dataclass(eq=False)
class _Call:
    future: Future[Any]
    work: Work
    losses: int = 0


class QueueExecutor(Executor):
    """Workers, each fed by a thread of this process.

    A call fails with what its function raised in the worker, or with `WorkerLost` once it has cost
    `MOST_LOSSES` workers, or none is left; all calls that wait then fail with it.
    """

    def __init__(self, starts: Sequence[Start]) -> None:
        """Start a worker with each of the functions."""
        self._changed = threading.Condition()
        self._waiting: deque[_Call] = deque()
        self._running = 0
        self._closing = False
        self._ended = threading.Event()
        self._lost: WorkerLost | None = None
        self._losses = 0
        self._workers: list[Worker | None] = []
        for start in starts:
            self._workers.append(start())
        self._threads = [
            threading.Thread(target=self._feed, args=(seat, start), daemon=True)
            for seat, start in enumerate(starts)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def workers(self) -> int:
        """How many workers there are now."""
        return sum(worker is not None for worker in self._workers)

    @property
    def losses(self) -> int:
        """How many workers have been lost so far."""
        return self._losses

    def submit(
        self, fn: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Future[Result]:
        """Queue a call for the next idle worker.

        Raises:
            WorkerLost: A call has cost too many workers, or none is left; no more calls are taken.
        """
        future: Future[Result] = Future()
        with self._changed:
            if self._lost is not None:
                raise self._lost
            self._waiting.append(_Call(future, (fn, args, kwargs)))
            self._changed.notify()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers: at once with `cancel_futures`, else when all calls are done."""
        with self._changed:
            self._closing = True
            if cancel_futures:
                self._ended.set()
                for call in self._waiting:
                    call.future.cancel()
                self._waiting.clear()
            self._changed.notify_all()
        if cancel_futures:
            self._end_workers()
        if wait or not cancel_futures:
            for thread in self._threads:
                thread.join()
        if not cancel_futures:
            self._end_workers()

    def _end_workers(self) -> None:
        for worker in self._workers:
            if worker is not None:
                worker.end()

    def _feed(self, seat: int, start: Start) -> None:
        """Give the worker of a seat call after call (in a thread of this process)."""
        while (call := self._next()) is not None:
            try:
                going_on = self._make(call, seat, start)
            finally:
                with self._changed:
                    self._running -= 1
                    self._changed.notify_all()
            if not going_on:
                return

    def _next(self) -> _Call | None:
        """Wait for a call, which may be one that another worker was lost with; None when there is no more."""
        with self._changed:
            while True:
                while self._waiting:
                    call = self._waiting.popleft()
                    if call.losses or call.future.set_running_or_notify_cancel():
                        self._running += 1
                        return call
                if self._lost is not None or (self._closing and not self._running):
                    return None
                self._changed.wait()

    def _make(self, call: _Call, seat: int, start: Start) -> bool:
        """Have a call made; return whether the seat still has a worker."""
        worker = self._workers[seat]
        assert worker is not None
        try:
            returned, value = worker.call(call.work)
        except WorkerLost as lost:
            return self._made_up_for(lost, call, seat, start)
        except Exception as error:  # the call itself cannot be sent
            call.future.set_exception(error)
            return True
        if returned:
            call.future.set_result(value)
        else:
            call.future.set_exception(value)
        return True

    def _made_up_for(self, lost: WorkerLost, call: _Call, seat: int, start: Start) -> bool:
        """Queue the call anew and start another worker; return whether there is one."""
        worker, self._workers[seat] = self._workers[seat], None
        assert worker is not None
        worker.end()
        call.losses += 1
        self._losses += 1
        if self._ended.is_set():
            call.future.set_exception(lost)
            return False
        if call.losses >= MOST_LOSSES:
            self._fail(WorkerLost(f"{lost} (the same work has cost {call.losses} workers)"), call)
            return False
        log.warning("%s; its work is done again", lost)
        with self._changed:
            self._waiting.appendleft(call)
            self._changed.notify()
        try:
            self._workers[seat] = start()
        except WorkerLost as none:
            log.warning("%s; %d workers go on", none, self.workers)
            if self.workers == 0:
                self._fail(none)
            return False
        if self._ended.is_set():  # in the meantime: nobody else would end it
            self._end_workers()
        return True

    def _fail(self, lost: WorkerLost, call: _Call | None = None) -> None:
        """Fail a call and all that wait; no more are taken."""
        with self._changed:
            self._lost = lost
            failed = [*([] if call is None else [call]), *self._waiting]
            self._waiting.clear()
            self._changed.notify_all()
        for each in failed:
            if each.losses or each.future.set_running_or_notify_cancel():
                each.future.set_exception(lost)
