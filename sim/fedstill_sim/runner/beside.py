"""Baselines beside their run, in processes of their own: the rounds of a small fleet leave cores idle.

A process makes baseline after baseline in their folders and reports its progress through a pipe. What it does
not finish, for whatever reason, the run does itself: which process makes a baseline never changes its result.
The teacher and the first students are the run's; so baselines begin when these are there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import NamedTuple

import psutil
from fedstill_server.families import FAMILIES
from fedstill_server.methods import METHODS
from fedstill_server.rounds.preparation import PREPARATIONS, PreparedState

from fedstill_sim.config import RunConfig
from fedstill_sim.data.fleet import FleetData
from fedstill_sim.engine.groups import worthwhile_processes
from fedstill_sim.progress import RunProgress
from fedstill_sim.runner.remote_progress import ProgressCall
from fedstill_sim.stacks.eligible import of_this_process
from fedstill_sim.workers.calls import WorkerLost
from fedstill_sim.workers.pool import usable_cores
from fedstill_sim.workers.process import WorkerProcess

_PROCESS_BYTES = 1 << 30  # torch, the graphs of some families, and a small fleet
_FREE_SHARE = 0.5  # of the free memory, that they may take together
_LOOK_EVERY_S = 0.1
_DEVICES_A_STACK = 8  # at least, where students have no tables of words


class BaselineJob(NamedTuple):
    """A baseline to be made, and the states that its run has prepared.

    Without a method, the inference graphs of the run's students are made, which the run needs at its end.
    """

    run_folder: Path
    method: str | None
    prepared: Sequence[PreparedState]


class BaselineEnd(NamedTuple):
    """The end of a job; `failed` says that its run has to do it."""

    failed: bool


class BaselinesBeside:
    """The baselines of a run that other processes make while its own rounds go on."""

    def __init__(
        self,
        run_folder: Path,
        methods: Sequence[str],
        progress: RunProgress,
        *,
        processes: int,
        serve: Callable[[Connection], None],
    ) -> None:
        """Start processes, which import what they need and wait.

        Args:
            run_folder: The run.
            methods: Its baselines, in the order in which they begin.
            progress: Told what the processes do, from threads of its own.
            processes: How many; 0 leaves the baselines to the run.
            serve: What a process does: it makes each `BaselineJob` that comes, and answers `BaselineEnd`.
        """
        self._folder, self._progress = run_folder, progress
        self._waiting: SimpleQueue[str | None] = SimpleQueue()
        for method in (*methods, None):
            self._waiting.put(method)
        self._left = threading.Semaphore(0)  # baselines and processes that came to an end
        self._methods = len(methods)
        self._prepared: list[PreparedState] = []
        self._begun, self._ended = threading.Event(), False
        self._done: set[str] = set()
        self._stack = ExitStack()
        workers = [WorkerProcess(serve) for _ in range(min(processes, len(methods)))]
        for worker in workers:
            self._stack.callback(worker.end)
        self._threads = [
            threading.Thread(target=self._follow, args=(worker,), daemon=True) for worker in workers
        ]
        for thread in self._threads:
            thread.start()

    def begin(self) -> None:
        """Let the baselines begin: the run's rounds do, or are over."""
        if not self._begun.is_set():
            self._prepared = PREPARATIONS.handed_over()
            self._begun.set()

    @property
    def going_on(self) -> bool:
        """Whether a process is still at work on a baseline."""
        return len(self._done) < self._methods and any(thread.is_alive() for thread in self._threads)

    def finished(self) -> frozenset[str]:
        """Wait for the processes; return the baselines that they have made."""
        self.begin()
        while self.going_on:
            self._left.acquire(timeout=_LOOK_EVERY_S)
        return frozenset(self._done)

    def __enter__(self) -> BaselinesBeside:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        self._begun.set()
        self._stack.close()

    def _follow(self, worker: WorkerProcess) -> None:
        """Give a process job after job and repeat what it says (in a thread of this process)."""
        try:
            self._give_jobs(worker)
        finally:
            self._left.release()

    def _give_jobs(self, worker: WorkerProcess) -> None:
        self._begun.wait()
        while not self._ended:
            try:
                method = self._waiting.get_nowait()
            except Empty:
                return
            try:
                worker.send(BaselineJob(self._folder, method, self._prepared))
                while isinstance(message := worker.receive(), ProgressCall):
                    message.repeat(self._progress)
            except WorkerLost:
                return
            except OSError:  # the pipe was closed here: the run is over
                return
            if method is not None and not message.failed:
                self._done.add(method)
            self._left.release()


def processes_beside(config: RunConfig, data: FleetData) -> int:
    """Return how many processes are to make a run's baselines beside it.

    None where the rounds of the run itself fill the cores, where memory is short, and where a command asks
    for a number of worker processes.
    """
    simulation = config.simulation
    if not simulation.baselines or simulation.engine.name != "cohort":
        return 0
    if simulation.engine.processes is not None:  # the cores that were asked for are the run's
        return 0
    fleet = config.fleet
    if of_this_process(fleet) or any(map(METHODS.is_only_here, simulation.baselines)):
        return 0
    if any(":" in name for name in (fleet.task.name, *simulation.baselines, *fleet.families)):
        return 0  # code of one's own may be this process's alone
    tables = any(FAMILIES.form_of(family).tables for family in fleet.families)
    if worthwhile_processes(data.devices // (1 if tables else _DEVICES_A_STACK)):
        return 0
    arrays = (data.x, data.y, data.train.rows, data.test.rows, data.public_x, data.global_x)
    each = _PROCESS_BYTES + 2 * sum(array.nbytes for array in arrays)
    room = int(_FREE_SHARE * psutil.virtual_memory().available // each)
    return max(0, min(usable_cores() - 1, room, len(simulation.baselines)))
