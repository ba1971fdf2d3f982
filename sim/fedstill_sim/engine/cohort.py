"""`CohortEngine`: replies to the messages of a round for all virtual devices at once."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from types import TracebackType

import numpy as np
from fedstill_client.model.owner_share import OWNER_SHARE
from fedstill_proto.arrays import IntArray, Parameters
from fedstill_proto.errors import FedstillError, WireError
from fedstill_proto.flower_records import RECORD, hello_reply, pack, read_hello
from fedstill_proto.package.artifact import StudentManifest, load_artifact
from flwr.app import Error, MetricRecord, RecordDict

from fedstill_sim.data.fleet import FleetData, load_fleet
from fedstill_sim.engine.fleet_students import FleetStudents
from fedstill_sim.engine.grid import Handler
from fedstill_sim.engine.groups import TaskGroup, group_messages, split_group, workers_for_run
from fedstill_sim.engine.memory import peak_memory_mb
from fedstill_sim.engine.open_run import forget_runs
from fedstill_sim.engine.prefixed import make_prefixed
from fedstill_sim.engine.shards import DeviceFailure, DeviceReply, ShardReplies, TaskShard
from fedstill_sim.engine.students import NO_STUDENT, SlotArray
from fedstill_sim.engine.told_tasks import ToldTasks
from fedstill_sim.engine.worker import evaluate, train
from fedstill_sim.folder import DATA_FOLDER, artifact_folder
from fedstill_sim.workers.calls import WorkerLost
from fedstill_sim.workers.growing import GrowingPool
from fedstill_sim.workers.remote import RemoteExecutor

# The code of a simulated device's failure, whose text is shown; a real device sends a word.
_SIMULATED_FAILURE = 99

Reply = RecordDict | Error


class EngineError(FedstillError):
    """The engine cannot go on."""


class CohortEngine:
    """Handlers for an InProcessGrid: the fleet in <run>/data, trained by the artifacts in <run>/artifacts."""

    def __init__(
        self,
        run_folder: Path,
        *,
        stack_sizes: Mapping[str, int],
        processes: int | None = None,
        owner_share: float = OWNER_SHARE,
        noise_seed: int = 0,
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
            executor: What makes the calls, in place of worker processes of one's own; who gave it shuts it
                down. See fedstill_sim/workers/__init__.py for what it must be able to do. `processes` is then
                how many workers it has, where it does not say so itself.

        Raises:
            EngineError: A family of the fleet has no stack size.
        """
        self._folder = run_folder.resolve()
        self._stack_sizes = dict(stack_sizes)
        self._owner_share = owner_share
        self.told = ToldTasks(self._folder)
        self._noise_seed = noise_seed
        self._data = load_fleet(self._folder / DATA_FOLDER)
        manifests = {family: self._manifest(family) for family in sorted(self._data.families.names)}
        self._manifests = manifests
        self._students = FleetStudents(self._folder, self._data, manifests)
        for family in manifests:
            make_prefixed(self._folder, family, self._stack_sizes[family])
        self._worker_ids: set[int] = set()
        self._owns_executor = executor is None
        self._executor, self._processes = workers_for_run(
            self._folder, executor=executor, processes=processes, stacks=self._stacks()
        )

    def _manifest(self, family: str) -> StudentManifest:
        if family not in self._stack_sizes:
            raise EngineError(f"no stack size for student family {family!r}; prepare its training artifact")
        return load_artifact(artifact_folder(self._folder, family, self._stack_sizes[family])).manifest

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """The engine's handler of each message type: "query.hello", "train", "evaluate"."""
        handlers = {"query.hello": self._hello, "train": self._train, "evaluate": self._evaluate}
        return self.told.among(handlers)

    def _stacks(self) -> int:
        """Return how many stacks the whole fleet makes."""
        families = self._data.families.counts()
        return sum(math.ceil(devices / self._stack_sizes[family]) for family, devices in families.items())

    @property
    def data(self) -> FleetData:
        """The fleet's data."""
        return self._data

    @property
    def processes(self) -> int:
        """How many worker processes there are; 0 works in this one."""
        if isinstance(self._executor, GrowingPool):
            return self._executor.started
        return self._processes

    @property
    def peak_memory_mb(self) -> Sequence[float]:
        """Peak resident memory so far in megabytes: of this process, then of each worker."""
        if isinstance(self._executor, RemoteExecutor):
            return [peak_memory_mb(), *self._executor.peak_memory_mb()]
        return [peak_memory_mb(), *(peak_memory_mb(worker) for worker in sorted(self.worker_ids))]

    @property
    def worker_ids(self) -> frozenset[int]:
        """The ids of the worker processes that have replied so far."""
        return frozenset(self._worker_ids - {os.getpid()})

    def students(self, devices: Sequence[int], *, after_round: int) -> Parameters:
        """Return the students [n, *shape] of devices of one family as they were after a round."""
        return self._students.of(devices, after_round=after_round)

    def close(self) -> None:
        """End the workers, if they are the engine's own."""
        if self._owns_executor:
            self._executor.shutdown(cancel_futures=True)
        forget_runs()

    def __enter__(self) -> CohortEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _hello(self, devices: Sequence[int], contents: Sequence[RecordDict]) -> list[Reply]:
        return [self._greet(device, content) for device, content in zip(devices, contents, strict=True)]

    def _greet(self, device: int, content: RecordDict) -> Reply:
        try:
            read_hello(content)
        except WireError as error:
            return _as_content(DeviceFailure(str(error)))
        return hello_reply(self._data.device_names[device], self._data.families[device])

    def _train(self, devices: Sequence[int], contents: Sequence[RecordDict]) -> list[Reply]:
        groups, replies = self._grouped(devices, contents)
        for number, round_groups in _by_round(groups):
            self._train_round(number, round_groups, replies)
        return [replies[place] for place in range(len(devices))]

    def _train_round(self, number: int, groups: list[TaskGroup], replies: dict[int, Reply]) -> None:
        before, after = self._students.begin(number)
        other = np.where(before == 0, 1, 0).astype(np.uint8)
        for reply, place, device in self._replies(train, groups, before, new_slots=other):
            replies[place] = _as_content(reply)
            if not isinstance(reply, DeviceFailure):
                after[device] = other[device]
        self._students.commit(number, after, families={group.task.family for group in groups})

    def _evaluate(self, devices: Sequence[int], contents: Sequence[RecordDict]) -> list[Reply]:
        groups, replies = self._grouped(devices, contents)
        for number, round_groups in _by_round(groups):
            trained_in = self._students.trained_in(number)
            slots = self._students.after(number)
            for reply, place, _ in self._replies(evaluate, round_groups, slots, trained_in=trained_in):
                replies[place] = _as_content(reply)
        return [replies[place] for place in range(len(devices))]

    def _grouped(
        self, devices: Sequence[int], contents: Sequence[RecordDict]
    ) -> tuple[list[TaskGroup], dict[int, Reply]]:
        groups, refused = group_messages(devices, contents, families=self._data.families)
        return groups, {place: _as_content(DeviceFailure(reason)) for place, reason in refused.items()}

    def _replies(
        self,
        work: Callable[[TaskShard], ShardReplies],
        groups: Sequence[TaskGroup],
        slots: SlotArray,
        *,
        new_slots: SlotArray | None = None,
        trained_in: IntArray | None = None,
    ) -> Iterator[tuple[DeviceReply, int, int]]:
        """Yield each device's (reply, place, device), in an order that depends on nothing but the groups."""
        try:
            parts = [part for group in groups for part in self._parts(group, slots)]
            # Those of large graphs take longest, and begin first.
            order = sorted(range(len(parts)), key=lambda place: -self._graph_bytes(parts[place]))
            pending = {
                place: self._executor.submit(work, self._shard(parts[place], slots, new_slots, trained_in))
                for place in order
            }
            for place, part in enumerate(parts):
                future = pending[place]
                shard_replies = future.result()
                self._worker_ids.add(shard_replies.process)
                yield from zip(
                    shard_replies.replies, part.places.tolist(), part.devices.tolist(), strict=True
                )
        except WorkerLost as lost:
            raise EngineError(
                f"{lost}. `fedstill-sim resume` goes on from the last full round; fewer --processes "
                "need less memory"
            ) from lost

    def _graph_bytes(self, part: TaskGroup) -> int:
        return sum(file.size_bytes for file in self._manifests[part.task.family].parts)

    def _parts(self, group: TaskGroup, slots: SlotArray) -> Iterator[TaskGroup]:
        """Split a group so that in each part all devices have a student of their own, or none has."""
        no_student = (slots[group.devices] == NO_STUDENT) | group.task.forgets
        for members in (np.flatnonzero(no_student), np.flatnonzero(~no_student)):
            yield from split_group(
                group.part(members),
                train_counts=self._data.train.counts,
                stack_size=self._stack_sizes[group.task.family],
                processes=self._processes,
            )

    def _shard(
        self,
        part: TaskGroup,
        slots: SlotArray,
        new_slots: SlotArray | None,
        trained_in: IntArray | None,
    ) -> TaskShard:
        own = slots[part.devices]
        return TaskShard(
            run_folder=self._folder,
            stack_size=self._stack_sizes[part.task.family],
            task=part.blob,
            devices=part.devices,
            slots=None if own[0] == NO_STUDENT or part.task.forgets else own,
            new_slots=None if new_slots is None else new_slots[part.devices],
            trained_in=None if trained_in is None else trained_in[part.devices],
            owner_share=self._owner_share,
            noise_seed=self._noise_seed,
        )


def _by_round(groups: Sequence[TaskGroup]) -> Iterator[tuple[int, list[TaskGroup]]]:
    """Sort groups by round: a push holds one round's tasks, but nothing keeps a server from mixing them."""
    for number in sorted({group.task.round for group in groups}):
        yield number, [group for group in groups if group.task.round == number]


def _as_content(reply: DeviceReply) -> Reply:
    if isinstance(reply, bytes):
        return pack("SoftLabelSummary", reply)
    if isinstance(reply, DeviceFailure):
        return Error(_SIMULATED_FAILURE, reply.reason)
    return RecordDict({RECORD: MetricRecord(reply._asdict())})
