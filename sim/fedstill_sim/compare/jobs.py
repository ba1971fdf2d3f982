"""The runs of a comparison, one after another or several at a time in processes of their own.

A run leaves result.json in its folder, or failed.json with the reason: neither a run that fails nor one whose
process is killed ends the comparison. Workers are processes that make run after run and tell through a pipe
how far they are; which of them makes a run, and when, never changes its result.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import shutil
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, NamedTuple

from fedstill_proto.errors import FedstillError

from fedstill_sim.engine.pool import end_with_parent
from fedstill_sim.folder import CONFIG_FILE
from fedstill_sim.progress import RunProgress
from fedstill_sim.request import RunRequest
from fedstill_sim.results.json_files import read_json, write_json
from fedstill_sim.results.run_result import RoundResult
from fedstill_sim.runner.run import continue_run, start_run

FAILED_FILE = "failed.json"


class RunJob(NamedTuple):
    """One run of a comparison."""

    request: RunRequest
    folder: Path
    label: str


def run_jobs(
    jobs: Sequence[RunJob], *, processes: int, progress: RunProgress, finished: Callable[[RunJob], None]
) -> None:
    """Make every run; `finished` hears of each, in this process, whether it has a result or failed."""
    if processes <= 1 or len(jobs) <= 1:
        for job in jobs:
            make_run(job, progress)
            finished(job)
        return
    with _workers(min(processes, len(jobs))) as workers:
        _deal_out(list(jobs), workers, progress, finished)


def make_run(job: RunJob, progress: RunProgress) -> None:
    """Make a run, or go on with it; what goes wrong is written down."""
    try:
        if not (job.folder / CONFIG_FILE).exists():
            shutil.rmtree(job.folder, ignore_errors=True)  # killed before it was written
            start_run(job.request, job.folder, force=False)
        continue_run(job.folder, progress, report=False, label=job.label)
    except FedstillError as error:
        _write_failure(job.folder, str(error))
    # A bug in one run is no reason to lose the others; its traceback is kept.
    except Exception as error:
        _write_failure(job.folder, f"{type(error).__name__}: {error}", details=traceback.format_exc())


def failure_of(run_folder: Path) -> str | None:
    """Why the run has no result, if it failed."""
    path = run_folder / FAILED_FILE
    return str(read_json(path)["reason"]) if path.exists() else None


def forget_failure(run_folder: Path) -> None:
    """Let the run be made again, from where it was."""
    (run_folder / FAILED_FILE).unlink(missing_ok=True)


def _write_failure(run_folder: Path, reason: str, *, details: str = "") -> None:
    run_folder.mkdir(parents=True, exist_ok=True)
    write_json(run_folder / FAILED_FILE, {"reason": " ".join(reason.split()), "details": details})


class _Said(NamedTuple):
    """A call of a RunProgress, on its way to the parent."""

    what: str
    arguments: tuple[Any, ...]


@dataclass
class _Worker:
    """A process, this side of its pipe, and the run that it makes."""

    process: SpawnProcess
    pipe: Connection
    job: RunJob | None = field(default=None)

    @classmethod
    def started(cls) -> _Worker:
        context = multiprocessing.get_context("spawn")
        pipe, its_end = context.Pipe()
        process = context.Process(target=_work, args=(its_end,))
        process.start()
        its_end.close()
        return cls(process, pipe)

    def give(self, job: RunJob) -> None:
        self.job = job
        self.pipe.send(job)

    def end(self) -> None:
        self.process.terminate()
        self.process.join()
        self.pipe.close()


@contextmanager
def _workers(count: int) -> Iterator[list[_Worker]]:
    workers: list[_Worker] = []
    try:
        workers.extend(_Worker.started() for _ in range(count))
        yield workers
    finally:
        for worker in workers:
            worker.end()


def _deal_out(
    waiting: list[RunJob],
    workers: list[_Worker],
    progress: RunProgress,
    finished: Callable[[RunJob], None],
) -> None:
    for worker in workers:
        worker.give(waiting.pop(0))
    while busy := {worker.pipe: place for place, worker in enumerate(workers) if worker.job is not None}:
        for pipe in multiprocessing.connection.wait(list(busy)):
            assert isinstance(pipe, Connection)
            place = busy[pipe]
            job = workers[place].job
            assert job is not None
            try:
                said = pipe.recv()
            except (EOFError, ConnectionResetError):
                workers[place] = _replaced(workers[place], job)
            else:
                if isinstance(said, _Said):
                    _repeat(said, progress)
                    continue
            workers[place].job = None
            finished(job)
            if waiting:
                workers[place].give(waiting.pop(0))


def _replaced(worker: _Worker, job: RunJob) -> _Worker:
    """The run's process is gone: out of memory, as a rule. The next runs get a new one."""
    worker.process.join()
    code = worker.process.exitcode or 0
    how = f"was killed by signal {-code} (out of memory?)" if code < 0 else f"ended with code {code}"
    _write_failure(job.folder, f"the run's process {how}; `resume --retry-failed` goes on with it")
    worker.end()
    return _Worker.started()


def _repeat(said: _Said, progress: RunProgress) -> None:
    if said.what == "phase":
        progress.phase(*said.arguments)
    elif said.what == "rounds":
        label, total, done = said.arguments
        progress.rounds(label, total=total, done=done)
    else:
        progress.round_done(*said.arguments)


def _work(pipe: Connection) -> None:
    """A worker's life."""
    end_with_parent()
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        make_run(job, _Told(pipe, job.label))
        pipe.send(None)


class _Told:
    """Tells the parent what a RunProgress is told here."""

    def __init__(self, pipe: Connection, label: str) -> None:
        self._pipe, self._label = pipe, label

    def phase(self, text: str) -> None:
        self._pipe.send(_Said("phase", (text if self._label in text else f"{self._label}: {text}",)))

    def rounds(self, method: str, *, total: int, done: int) -> None:
        self._pipe.send(_Said("rounds", (method, total, done)))

    def round_done(self, method: str, finished: RoundResult) -> None:
        self._pipe.send(_Said("round_done", (method, finished)))
