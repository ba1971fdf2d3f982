"""The runs of a comparison, one after another, or several at a time in processes of their own.

A run leaves result.json in its folder, or failed.json with the reason: neither a run that fails nor one whose
process is killed ends the comparison. Workers are processes that make run after run and report their progress
through a pipe; which of them makes a run, and when, never changes its result.
"""

from __future__ import annotations

import multiprocessing.connection
import shutil
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from fedstill_proto.errors import FedstillError

from fedstill_sim.folder import CONFIG_FILE
from fedstill_sim.progress import RunProgress
from fedstill_sim.request import RunRequest
from fedstill_sim.results.json_files import read_json, write_json
from fedstill_sim.runner.remote_progress import ProgressCall, RemoteProgress
from fedstill_sim.runner.run import continue_run, start_run
from fedstill_sim.workers.calls import WorkerLost
from fedstill_sim.workers.process import WorkerProcess

FAILED_FILE = "failed.json"


class RunJob(NamedTuple):
    """One run of a comparison."""

    request: RunRequest
    folder: Path
    label: str


def run_jobs(
    jobs: Sequence[RunJob], *, processes: int, progress: RunProgress, finished: Callable[[RunJob], None]
) -> None:
    """Make every run.

    Args:
        jobs: The runs, in the order in which they begin.
        processes: How many of them go on at a time; 1 makes them in this process.
        finished: Called in this process with each run that has a result or has failed.
    """
    if processes <= 1 or len(jobs) <= 1:
        for job in jobs:
            make_run(job, progress)
            finished(job)
        return
    with _workers(min(processes, len(jobs))) as workers:
        _dispatch(list(jobs), workers, progress, finished)


def make_run(job: RunJob, progress: RunProgress) -> None:
    """Make a run, or go on with one; a failure is written to failed.json."""
    try:
        if not (job.folder / CONFIG_FILE).exists():
            shutil.rmtree(job.folder, ignore_errors=True)  # killed before it was configured
            start_run(job.request, job.folder, force=False)
        continue_run(job.folder, progress, report=False, label=job.label)
    except FedstillError as error:
        _write_failure(job.folder, str(error))
    # A bug in one run is no reason to lose the others: its traceback is kept in failed.json.
    except Exception as error:
        _write_failure(job.folder, f"{type(error).__name__}: {error}", details=traceback.format_exc())


def failure_of(run_folder: Path) -> str | None:
    """Return why a run has failed; None where it has not."""
    path = run_folder / FAILED_FILE
    return str(read_json(path)["reason"]) if path.exists() else None


def forget_failure(run_folder: Path) -> None:
    """Let a failed run be made again, from where it stopped."""
    (run_folder / FAILED_FILE).unlink(missing_ok=True)


def _write_failure(run_folder: Path, reason: str, *, details: str = "") -> None:
    run_folder.mkdir(parents=True, exist_ok=True)
    write_json(run_folder / FAILED_FILE, {"reason": " ".join(reason.split()), "details": details})


@dataclass
class _Worker:
    """A worker process, and the run that it makes."""

    process: WorkerProcess
    job: RunJob | None = None

    def give(self, job: RunJob) -> None:
        self.job = job
        self.process.send(job)


@contextmanager
def _workers(count: int) -> Iterator[list[_Worker]]:
    workers: list[_Worker] = []
    try:
        workers.extend(_Worker(WorkerProcess(_serve_runs)) for _ in range(count))
        yield workers
    finally:
        for worker in workers:
            worker.process.end()


def _dispatch(
    waiting: list[RunJob],
    workers: list[_Worker],
    progress: RunProgress,
    finished: Callable[[RunJob], None],
) -> None:
    for worker in workers:
        worker.give(waiting.pop(0))
    while busy := {worker.process.pipe: worker for worker in workers if worker.job is not None}:
        for pipe in multiprocessing.connection.wait(list(busy)):
            assert isinstance(pipe, Connection)
            worker = busy[pipe]
            job = worker.job
            assert job is not None
            try:
                message = worker.process.receive()
            except WorkerLost as lost:
                _write_failure(job.folder, f"{lost}; `resume --retry-failed` goes on with the run")
                worker.process.end()
                worker.process = WorkerProcess(_serve_runs)
            else:
                if isinstance(message, ProgressCall):
                    message.repeat(progress)
                    continue
            worker.job = None
            finished(job)
            if waiting:
                worker.give(waiting.pop(0))


def _serve_runs(pipe: Connection) -> None:
    """Run in a worker: make each run that comes, and send None when it is over."""
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        make_run(job, RemoteProgress(pipe, job.label))
        pipe.send(None)
