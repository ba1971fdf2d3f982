"""A run's virtual fleet as the main process has it open: its data, its students, and the workers."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np
from fedstill_client.model.owner_share import OWNER_SHARE
from fedstill_proto.arrays import IntArray
from fedstill_proto.messages import RoundTask
from fedstill_proto.package.artifact import load_artifact

from fedstill_sim.data.columns.names import NumberedNames
from fedstill_sim.data.fleet import load_fleet
from fedstill_sim.engine.fleet_students import FleetStudents
from fedstill_sim.engine.groups import TaskGroup, split_group, workers_for_run
from fedstill_sim.engine.memory import peak_memory_mb
from fedstill_sim.engine.open_run import forget_runs
from fedstill_sim.engine.prefixed import make_prefixed
from fedstill_sim.engine.students import NO_STUDENT, SlotArray
from fedstill_sim.folder import DATA_FOLDER, DEVICES_FOLDER, artifact_folder
from fedstill_sim.stacks.round_context import forget_contexts
from fedstill_sim.workers.growing import GrowingPool
from fedstill_sim.workers.keeper import FileKeeper, Keeper
from fedstill_sim.workers.remote import RemoteExecutor

MOST_NAMED = 200
"""Devices of a fleet whose records name each of them; those of a larger one are in columns alone."""

Part = TypeVar("Part")


class OpenFleet:
    """The fleet in <run>/data, trained by the artifacts in <run>/artifacts."""

    def __init__(
        self,
        run_folder: Path,
        *,
        stack_sizes: Mapping[str, int],
        processes: int | None = None,
        owner_share: float = OWNER_SHARE,
        noise_seed: int = 0,
        measured: IntArray | None = None,
        executor: Executor | None = None,
    ) -> None:
        """Open a run, and start the worker processes.

        Args:
            run_folder: The run.
            stack_sizes: Devices that one run of the training graph trains together, by family.
            processes: Worker processes of one thread each. 0 works in this process; None is one a core, or
                fewer for a fleet with little to do.
            owner_share: How much of its label prior a device adds to its answers (see the client's
                label_prior.py).
            noise_seed: Seed of the noise that devices add to their summaries where a task asks for it.
            measured: The devices that are measured after a round [n]; None is all.
            executor: What makes the calls, in place of worker processes of one's own; see CohortEngine.
        """
        self.folder = run_folder.resolve()
        self.stack_sizes = dict(stack_sizes)
        self.owner_share, self.noise_seed = owner_share, noise_seed
        self.data = load_fleet(self.folder / DATA_FOLDER)
        self.names: Sequence[str] = self.data.device_names
        self.families = self.data.families.names
        self.family_codes = self.data.families.codes
        self.by_name = _in_order(self.names)
        self.measured = self.by_name  # in the order of their names
        if measured is not None:
            self.measured = self.by_name[np.isin(self.by_name, measured)]
        manifests = {
            family: load_artifact(artifact_folder(self.folder, family, self.stack_sizes[family])).manifest
            for family in sorted(self.families)
        }
        self._graph_bytes = {
            family: sum(file.size_bytes for file in manifest.parts) for family, manifest in manifests.items()
        }
        self.students = FleetStudents(self.folder, self.data, manifests)
        for family in manifests:
            make_prefixed(self.folder, family, self.stack_sizes[family])
        self.worker_ids: set[int] = set()
        self._owns_executor = executor is None
        self.executor, self.workers = workers_for_run(
            self.folder, executor=executor, processes=processes, stacks=self._stacks()
        )
        self.keeper: Keeper = FileKeeper(self.folder / DEVICES_FOLDER / "kept")
        self.keeper.clear()  # what a killed run left
        if isinstance(self.executor, RemoteExecutor):
            self.keeper = self.executor.keeper()

    def _stacks(self) -> int:
        """How many stacks the whole fleet makes."""
        devices = self.data.families.counts()
        return sum(math.ceil(count / self.stack_sizes[family]) for family, count in devices.items())

    @property
    def devices(self) -> int:
        """How many devices there are."""
        return len(self.family_codes)

    @property
    def peak_memory_mb(self) -> Sequence[float]:
        """Peak resident memory so far in megabytes: of this process, then of each worker."""
        if isinstance(self.executor, RemoteExecutor):
            return [peak_memory_mb(), *self.executor.peak_memory_mb()]
        workers = sorted(self.worker_ids - {os.getpid()})
        return [peak_memory_mb(), *(peak_memory_mb(worker) for worker in workers)]

    @property
    def lists_devices(self) -> bool:
        """Whether the fleet is so small that records name its devices."""
        return self.devices <= MOST_NAMED

    def names_of(self, devices: IntArray) -> tuple[str, ...]:
        """The names of devices, in order, where records list them; else none."""
        if not self.lists_devices:
            return ()
        return tuple(sorted(self.names[device] for device in devices.tolist()))

    @property
    def processes(self) -> int:
        """How many worker processes there are; 0 works in this one."""
        return self.executor.started if isinstance(self.executor, GrowingPool) else self.workers

    def largest_first(self, shards: Sequence[Part], family_of: Callable[[Part], str]) -> list[Part]:
        """Sort shards by the size of their graphs: those that take longest begin first."""
        return sorted(shards, key=lambda shard: -self._graph_bytes[family_of(shard)])

    def parts(
        self, task: RoundTask, devices: IntArray, places: IntArray, slots: SlotArray
    ) -> Iterator[TaskGroup]:
        """Split devices [n] of a task, at these places of the round, into shards of whole stacks.

        In each, all devices have a student of their own that the task goes on from, or none has.
        """
        order = np.argsort(devices, kind="stable")  # as their rows lie in the files
        group = TaskGroup(b"", task, devices[order], places[order])
        no_student = (slots[group.devices] == NO_STUDENT) | task.forgets
        for members in (np.flatnonzero(no_student), np.flatnonzero(~no_student)):
            yield from split_group(
                group.part(members),
                train_counts=self.data.train.counts,
                stack_size=self.stack_sizes[task.family],
                processes=self.workers,
            )

    def close(self) -> None:
        """End the workers, and forget what they kept."""
        self.keeper.clear()
        if self._owns_executor:
            self.executor.shutdown(cancel_futures=True)
        forget_contexts()
        forget_runs()

    def __enter__(self) -> OpenFleet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _in_order(names: Sequence[str]) -> IntArray:
    """The devices in the order of their names [devices]."""
    if isinstance(names, NumberedNames):
        return np.arange(len(names))
    return np.array(sorted(range(len(names)), key=names.__getitem__), np.int64)
