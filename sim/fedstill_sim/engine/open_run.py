"""A run's data, artifacts and students, as a worker process has them open. No torch, no flwr."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
from fedstill_client.model.forward import Forward
from fedstill_client.model.prefix import prefix_of
from fedstill_client.model.trainer import Personalizer
from fedstill_client.rounds.base_table_store import BaseTableStore
from fedstill_client.rounds.round import made_start
from fedstill_proto.arrays import FloatArray, IntArray, Parameters
from fedstill_proto.codec.api import decode_task
from fedstill_proto.messages import RoundTask, StartSource
from fedstill_proto.package.artifact import StudentManifest, decode_parameters, load_artifact

from fedstill_sim.data.fleet import load_fleet
from fedstill_sim.engine.fleet_starts import keep_start, kept_start
from fedstill_sim.engine.kept_students import StudentRows
from fedstill_sim.engine.prefixed import know_prefixed
from fedstill_sim.engine.shards import TaskShard
from fedstill_sim.engine.stacks import FleetStacks
from fedstill_sim.engine.students import StudentFile
from fedstill_sim.folder import DEVICES_FOLDER, artifact_folder, installed_file, training_data_folder


def students_path(run_folder: Path, family: str) -> Path:
    """Where a run keeps the students of a family's virtual devices."""
    return run_folder / DEVICES_FOLDER / f"{family}.f32"


_MOST_STARTS = 4  # rounds whose starts are held in memory


class OpenFamily:
    """The training artifact of one family at one stack size, and the file of the family's students."""

    def __init__(self, run_folder: Path, family: str, stack_size: int, *, devices: int) -> None:
        self._run_folder = run_folder
        self._artifact = load_artifact(artifact_folder(run_folder, family, stack_size))
        self._made: tuple[RoundTask, RoundTask] | None = None
        self._starts: dict[int, Parameters] = {}  # of the last rounds
        self.manifest: StudentManifest = self._artifact.manifest
        self.prefix = prefix_of(self._artifact)
        students = students_path(run_folder, family)
        self.file = StudentFile(students, devices=devices, width=self.manifest.parameter_count)

    @functools.cached_property
    def personalizer(self) -> Personalizer:
        """Trains stacks of devices."""
        return Personalizer(self._artifact)

    @functools.cached_property
    def installed(self) -> Parameters | None:
        """The student [*shape] of the devices' package, once the run is prepared."""
        file = installed_file(self._run_folder, self.manifest.family)
        if not file.exists():
            return None
        return decode_parameters(file.read_bytes(), self.manifest.parameters, field=file.name)

    @functools.cached_property
    def _starter(self) -> Personalizer:
        """Makes the start that all devices share: alone where the run has the artifact for that."""
        alone = artifact_folder(self._run_folder, self.manifest.family, 1)
        return Personalizer(load_artifact(alone)) if alone.exists() else self.personalizer

    def with_start(self, task: RoundTask, public_x: FloatArray) -> RoundTask:
        """The same task, which brings the start that its devices would each make of their package.

        All devices of a family make the same one: no private example has a part in it.
        """
        if task.start is None or task.start.source is not StartSource.INSTALLED or self.installed is None:
            return task
        if self._made is None or self._made[0] is not task:
            start = dict(self.installed)
            if task.start.epochs > 0:
                made = made_start(start, task, self._starter, public_x)
                start = {name: array[0] for name, array in made.items()}
            self._made = task, replace(task, parameters=start, replace_student=True, start=None)
        return self._made[1]

    def know_start(self, task: RoundTask, start: Parameters) -> None:
        """Take the start [*shape] that another worker has made for a task, which then need not be made."""
        if self._made is None or self._made[0] is not task:
            ordered = {spec.name: start[spec.name] for spec in self.manifest.parameters}
            self._made = task, replace(task, parameters=ordered, replace_student=True, start=None)

    def keep_start(self, task: RoundTask) -> None:
        """Keep the start that a round's task brings, if it is that of all devices."""
        if task.replace_student and not task.training.local_parameters:
            keep_start(self._run_folder, self.manifest.family, task.round, dict(task.parameters))

    def fleet(self, rounds: IntArray) -> Parameters | None:
        """What devices that last trained in these rounds [n] started from: [*shape], or [n, *shape]."""
        starts = {number: self._kept_start(number) for number in set(rounds.tolist())}
        found = [start for start in starts.values() if start is not None]
        if len(found) < len(starts):
            return None
        if len(found) == 1:
            return found[0]
        each = [starts[number] or {} for number in rounds.tolist()]
        return {name: np.stack([one[name] for one in each]) for name in found[0]}

    def _kept_start(self, number: int) -> Parameters | None:
        """What a round started from, read once: the same object for the next stack."""
        if number not in self._starts:
            while len(self._starts) >= _MOST_STARTS:
                del self._starts[next(iter(self._starts))]
            start = kept_start(self._run_folder, self.manifest, number)
            if start is None:  # it may be there later
                return None
            self._starts[number] = start
        return self._starts[number]

    @functools.cached_property
    def forward(self) -> Forward:
        """Computes the logits of stacks of devices."""
        return Forward(self._artifact)


class OpenRun:
    """A run's data and artifacts, opened once in a process."""

    def __init__(self, run_folder: Path) -> None:
        self._folder = run_folder
        self._data = data = load_fleet(training_data_folder(run_folder), is_checked=True)
        self._kept = StudentRows.open(run_folder, data.families)
        self.stacks = FleetStacks(data)
        self.public_x = np.asarray(data.public_x)
        self.global_test = (np.asarray(data.global_x), np.asarray(data.global_y))
        self.answers = BaseTableStore(run_folder / DEVICES_FOLDER / "answers")
        self._opened: dict[tuple[str, int], OpenFamily] = {}

    def family(self, family: str, stack_size: int) -> OpenFamily:
        """Return a family's artifact at a stack size, opened once."""
        key = (family, stack_size)
        if key not in self._opened:
            devices = self._kept.count(family)
            opened = OpenFamily(self._folder, family, stack_size, devices=devices)
            know_prefixed(opened.prefix, self._folder, self._data, opened.manifest)
            self._opened[key] = opened
        return self._opened[key]

    def family_rows(self, family: str, devices: IntArray) -> IntArray:
        """Return each device's row [n] in the file of its family's students."""
        return self._kept.rows(devices)


@functools.lru_cache(maxsize=1)
def _open_run(run_folder: Path) -> OpenRun:
    return OpenRun(run_folder)


@functools.lru_cache(maxsize=4)
def _task(blob: bytes) -> RoundTask:
    return decode_task(blob)


def open_shard(shard: TaskShard) -> tuple[OpenRun, RoundTask]:
    """Return the shard's run and its task, which this process keeps open for the next shard."""
    return open_task(shard.run_folder, shard.task)


def open_task(run_folder: Path, blob: bytes) -> tuple[OpenRun, RoundTask]:
    """Return a run and a task, which this process keeps open for the next shard."""
    return _open_run(run_folder), _task(blob)


def forget_runs() -> None:
    """Close the run that this process keeps open: its folder may change once the run is over."""
    _open_run.cache_clear()
