"""An executor that starts worker processes once they are worth it: what is done sooner is done here.

A process takes about a second of a core until it works. So calls are made in this process until they have
taken as long: a fleet whose rounds are over by then never waits for a worker, and one that has more to do
has lost no more than that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

from fedstill_sim.workers.pool import InlineExecutor, WorkerPool

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

START_SECONDS = 0.8  # of a core: to start Python, numpy and ONNX Runtime


class GrowingPool(Executor):
    """Makes calls in this process, and in worker processes after `START_SECONDS` of them."""

    def __init__(self, processes: int, *, start_seconds: float = START_SECONDS) -> None:
        """Start nothing yet.

        Args:
            processes: How many workers there will be.
            start_seconds: How long calls are made in this process.
        """
        self.workers = processes
        self._left = start_seconds
        self._here = InlineExecutor()
        self._pool: WorkerPool | None = None

    @property
    def started(self) -> int:
        """How many workers there are so far."""
        return 0 if self._pool is None else self.workers

    def submit(
        self, fn: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Future[Result]:
        """Make the call, or queue it for the workers; what it raises here is raised here."""
        if self._pool is not None:
            return self._pool.submit(fn, *args, **kwargs)
        began = time.perf_counter()
        try:
            return self._here.submit(fn, *args, **kwargs)
        finally:
            self._left -= time.perf_counter() - began
            if self._left <= 0:
                self._pool = WorkerPool(self.workers)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers, if there are any: at once with `cancel_futures`, else when all calls are done."""
        if self._pool is not None:
            self._pool.shutdown(wait, cancel_futures=cancel_futures)
