"""A run as a worker process has it open: data, training artifacts, students on disk. No torch, no flwr."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from fedstill_client.model.forward import Forward
from fedstill_client.model.trainer import Personalizer
from fedstill_client.rounds.answer_store import AnswerStore
from fedstill_proto.arrays import IntArray
from fedstill_proto.codec.api import decode_task
from fedstill_proto.messages import RoundTask
from fedstill_proto.package.artifact import StudentManifest, load_artifact

from fedstill_sim.data.fleet import load_fleet
from fedstill_sim.engine.jobs import Job
from fedstill_sim.engine.stacks import FleetStacks
from fedstill_sim.engine.students import StudentFile
from fedstill_sim.folder import DATA_FOLDER, DEVICES_FOLDER, artifact_folder


def students_path(run_folder: Path, family: str) -> Path:
    """Where a run keeps the students of a family's virtual devices."""
    return run_folder / DEVICES_FOLDER / f"{family}.f32"


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
        self.answers = AnswerStore(run_folder / DEVICES_FOLDER / "answers")
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


@functools.lru_cache(maxsize=1)
def _workplace(run_folder: Path) -> Workplace:
    return Workplace(run_folder)


@functools.lru_cache(maxsize=4)
def _task(blob: bytes) -> RoundTask:
    return decode_task(blob)


def opened(job: Job) -> tuple[Workplace, RoundTask]:
    """The job's run and its task, as this process keeps them."""
    return _workplace(job.run_folder), _task(job.task)


def forget_runs() -> None:
    """Close what this process keeps open: a folder's content may change once its run is over."""
    _workplace.cache_clear()
