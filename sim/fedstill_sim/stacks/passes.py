"""Has workers do a pass over shards, a few calls ahead of the one that ends next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from typing import TypeVar

from fedstill_sim.workers.keeper import HandleLost

Ask = TypeVar("Ask")
Result = TypeVar("Result")

_CALLS_A_PROCESS = 4  # waiting or running: no worker waits for its next, and none of their results pile up


def done_by(
    executor: Executor, work: Callable[[Ask], Result], asks: Iterable[Ask], *, processes: int
) -> Iterator[tuple[int, Future[Result]]]:
    """Yield the finished future of each ask and its place, in the order in which they end."""
    left = iter(enumerate(asks))
    running: dict[Future[Result], int] = {}
    most = max(processes, 1) * _CALLS_A_PROCESS if processes else 1
    while True:
        while len(running) < most and (following := next(left, None)) is not None:
            place, ask = following
            running[_submitted(executor, work, ask)] = place
        if not running:
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            yield running.pop(future), future


def _submitted(executor: Executor, work: Callable[[Ask], Result], ask: Ask) -> Future[Result]:
    """The call's future; one that is made here at once, and finds what was kept gone, fails as elsewhere."""
    try:
        return executor.submit(work, ask)
    except HandleLost as lost:
        failed: Future[Result] = Future()
        failed.set_exception(lost)
        return failed
