"""What a worker process does: the client's round for virtual devices, stack by stack. No torch, no flwr."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from fedstill_client import round_work
from fedstill_client.forward import Forward
from fedstill_client.personalizer import Personalizer
from fedstill_client.round_work import StudentStack, TrainingDiverged
from fedstill_proto.artifact import StudentManifest, load_artifact
from fedstill_proto.codec import decode_task
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import RoundTask

from fedstill_sim.data.fleet import IntArray, load_fleet
from fedstill_sim.engine.stacks import FleetStacks, filled_up
from fedstill_sim.engine.students import SlotArray, StudentFile, named_parameters

DATA_FOLDER = "data"
ARTIFACTS_FOLDER = "artifacts"
DEVICES_FOLDER = "devices"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One task for n devices of one family; all work with a student of their own, or none does.

    slots: where their students lie [n]; None: they start from the one in the task.
    new_slots: where the trained ones go [n].
    label_prior: how strongly a device's own class frequencies speak on its own examples.
    """

    run_folder: Path
    stack_size: int
    task: bytes
    devices: IntArray
    slots: SlotArray | None
    new_slots: SlotArray | None = None
    label_prior: float = 1.0


class Counts(NamedTuple):
    """Right answers of one device, and what it was asked: on its own examples and on everyone's."""

    personal_correct: int
    personal_examples: int
    global_correct: int
    global_examples: int


@dataclass(frozen=True)
class Failure:
    """Why a device has no answer."""

    reason: str


Answer = bytes | Counts | Failure
"""An encoded summary, or how many answers of a device were right."""


@dataclass(frozen=True)
class Answers:
    """An answer of each device of a job, in the job's order, and the process that did the work."""

    process: int
    answers: list[Answer]


class FamilyWork:
    """One family's artifact at one stack size, opened, and the file of its students."""

    def __init__(self, folder: Path, *, students: Path, devices: int) -> None:
        self._artifact = load_artifact(folder)
        self.manifest: StudentManifest = self._artifact.manifest
        self.file = StudentFile(students, devices=devices, width=self.manifest.parameter_count)

    @functools.cached_property
    def personalizer(self) -> Personalizer:
        return Personalizer(self._artifact)

    @functools.cached_property
    def forward(self) -> Forward:
        return Forward(self._artifact)


class Workplace:
    """A run's data and artifacts, opened once in a process."""

    def __init__(self, run_folder: Path) -> None:
        self._folder = run_folder
        data = load_fleet(run_folder / DATA_FOLDER)
        self.stacks = FleetStacks(data)
        self.public_x = np.asarray(data.public_x)
        self.global_test = (np.asarray(data.global_x), np.asarray(data.global_y))
        self._families = np.array(data.families)
        self._work: dict[tuple[str, int], FamilyWork] = {}

    def work(self, family: str, stack_size: int) -> FamilyWork:
        """The family's artifact at this stack size."""
        key = (family, stack_size)
        if key not in self._work:
            self._work[key] = FamilyWork(
                artifact_folder(self._folder, family, stack_size),
                students=students_path(self._folder, family),
                devices=int((self._families == family).sum()),
            )
        return self._work[key]

    def family_rows(self, family: str, devices: IntArray) -> IntArray:
        """Each device's place among the devices of its family."""
        return np.searchsorted(np.flatnonzero(self._families == family), devices)


def artifact_folder(run_folder: Path, family: str, stack_size: int) -> Path:
    """Where a run keeps a training artifact."""
    return run_folder / ARTIFACTS_FOLDER / f"{family}-c{stack_size}"


def students_path(run_folder: Path, family: str) -> Path:
    """Where a run keeps the students of a family's virtual devices."""
    return run_folder / DEVICES_FOLDER / f"{family}.f32"


@functools.lru_cache(maxsize=1)
def _workplace(run_folder: Path) -> Workplace:
    return Workplace(run_folder)


@functools.lru_cache(maxsize=4)
def _task(blob: bytes) -> RoundTask:
    return decode_task(blob)


def train(job: Job) -> Answers:
    """Train and summarize every device of the job, and store its student."""
    return _stack_by_stack(_train_stack, job)


def evaluate(job: Job) -> Answers:
    """Count the right answers of every device of the job."""
    return _stack_by_stack(_evaluate_stack, job)


StackWork = Callable[[Workplace, FamilyWork, RoundTask, Job, slice], Sequence[Answer]]


def forget_runs() -> None:
    """Close what this process keeps open: a folder's content may change once its run is over."""
    _workplace.cache_clear()


def opened(job: Job) -> tuple[Workplace, RoundTask]:
    """The job's run and its task, as this process keeps them."""
    return _workplace(job.run_folder), _task(job.task)


def stack_starts(job: Job) -> range:
    """Where each stack begins among the job's devices."""
    return range(0, len(job.devices), job.stack_size)


def _stack_by_stack(work_on: StackWork, job: Job) -> Answers:
    place, task = opened(job)
    work = place.work(task.family, job.stack_size)

    def answers_of(start: int, stop: int) -> Sequence[Answer]:
        try:
            return work_on(place, work, task, job, slice(start, stop))
        except FedstillError as error:
            if stop - start == 1:
                return [Failure(str(error))]
        # One device's trouble is not its neighbours': each works on its own.
        return [answer for device in range(start, stop) for answer in answers_of(device, device + 1)]

    stacks = [answers_of(start, min(start + job.stack_size, len(job.devices))) for start in stack_starts(job)]
    return Answers(os.getpid(), [answer for stack in stacks for answer in stack])


def _train_stack(place: Workplace, work: FamilyWork, task: RoundTask, job: Job, part: slice) -> list[Answer]:
    assert job.new_slots is not None
    trained = np.empty((job.stack_size, work.manifest.parameter_count), np.float32)
    done = round_work.perform_round(
        _student_stack(place, work, job, part),
        task,
        work.personalizer,
        work.forward,
        place.public_x,
        out=named_parameters(trained, work.manifest),
    )
    devices = job.devices[part]
    rows = place.family_rows(task.family, devices)
    work.file.write(job.new_slots[part], rows, trained[: len(devices)])
    diverged = Failure(str(TrainingDiverged(task.training.learning_rate)))
    return [diverged if summary is None else summary for summary in done.summaries]


def _evaluate_stack(
    place: Workplace, work: FamilyWork, task: RoundTask, job: Job, part: slice
) -> list[Answer]:
    devices = job.devices[part]
    found = round_work.evaluate(
        _student_stack(place, work, job, part),
        task,
        work.forward,
        personal_test=place.stacks.test(filled_up(devices, job.stack_size)),
        global_test=place.global_test,
        label_prior=job.label_prior,
    )
    columns = (
        found.personal_correct,
        found.personal_examples,
        found.global_correct,
        found.global_examples,
    )
    counts = np.stack(columns, axis=1)[: len(devices)].tolist()
    return [Counts(*row) for row in counts]


def _student_stack(place: Workplace, work: FamilyWork, job: Job, part: slice) -> StudentStack:
    devices = job.devices[part]
    padded = filled_up(devices, job.stack_size)
    parameters = None
    if job.slots is not None:
        rows = place.family_rows(work.manifest.family, padded)
        slots = filled_up(job.slots[part], job.stack_size)
        parameters = named_parameters(work.file.read(slots, rows), work.manifest)
    return StudentStack(
        names=[place.stacks.device_names[device] for device in devices],
        private=place.stacks.private(padded),
        parameters=parameters,
        device_ids=place.stacks.ids(padded),
    )
