"""The workers of a cluster for calls about one run: its files go there, and its devices' come back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from fedstill_client.rounds.base_table_store import BaseTableStore
from fedstill_proto.package.artifact import load_artifact

from fedstill_sim.cluster.carried import (
    CarriedShard,
    DeviceFiles,
    FamilyRows,
    LaterCarried,
    answers_name,
    call_carried,
    shard_of,
)
from fedstill_sim.cluster.handles import StoreKeeper
from fedstill_sim.cluster.run_files import run_files, top_folder
from fedstill_sim.data.fleet import load_fleet
from fedstill_sim.engine.kept_students import StudentRows
from fedstill_sim.engine.shards import TaskShard
from fedstill_sim.folder import DATA_FOLDER, artifact_folder
from fedstill_sim.workers.remote import RemoteExecutor


class SendingExecutor(Protocol):
    """An executor that can send files to its workers' machines."""

    @property
    def workers(self) -> int: ...

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]: ...

    def begin_copy(self, folder: Path) -> None: ...

    def send_folder(self, folder: Path, files: dict[str, Path]) -> None: ...

    def keeper(self) -> StoreKeeper: ...

    def peak_memory_mb(self) -> Sequence[float]: ...


class RunExecutor(RemoteExecutor):
    """Makes calls about a run on another executor's workers."""

    def __init__(self, executor: SendingExecutor, run_folder: Path) -> None:
        self._executor, self._folder = executor, run_folder
        executor.begin_copy(top_folder(run_folder))
        data = load_fleet(run_folder / DATA_FOLDER)
        self._families, self._names = data.families, data.device_names
        self._students = StudentRows.open(run_folder, data.families)
        self._store = BaseTableStore(run_folder)
        self._starts: set[str] = set()
        self._writing = threading.Lock()
        self._widths: dict[tuple[str, int], int] = {}

    @property
    def workers(self) -> int:
        """How many calls are made at once."""
        return self._executor.workers

    def of_run(self, run_folder: Path) -> RemoteExecutor:
        """Return the executor of another run."""
        return RunExecutor(self._executor, run_folder)

    def keeper(self) -> StoreKeeper:
        """Keeps arrays in the object store."""
        return self._executor.keeper()

    def peak_memory_mb(self) -> Sequence[float]:
        """Peak resident memory so far of each worker, in megabytes."""
        return self._executor.peak_memory_mb()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Queue a call; the files of the devices that its first argument is about travel with it."""
        self._executor.send_folder(top_folder(self._folder), run_files(self._folder))
        about = shard_of(args[0]) if args else None
        if about is None:
            return self._executor.submit(fn, *args, **kwargs)
        carried = self._carried(*about)
        inner = self._executor.submit(call_carried, fn, args[0], LaterCarried(carried))
        return self._after(inner, carried)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Do nothing: the workers are another executor's."""

    def _carried(self, shard: TaskShard, stored: Any) -> CarriedShard:
        family = self._families[int(shard.devices[0])]
        key = (family, shard.stack_size)
        if key not in self._widths:
            manifest = load_artifact(artifact_folder(self._folder, *key)).manifest
            self._widths[key] = manifest.parameter_count
        keep = self._students.are_kept[shard.devices]
        rows = np.full(len(shard.devices), -1, np.int64)
        rows[keep] = self._students.rows(shard.devices[keep])
        where = FamilyRows(family, devices=self._students.count(family), width=self._widths[key], rows=rows)
        names = tuple(answers_name(self._store, self._names[device]) for device in shard.devices.tolist())
        return CarriedShard(
            run_folder=self._folder,
            where=where,
            names=names,
            slots=shard.slots,
            new_slots=shard.new_slots,
            stored=stored & keep,
            starts=frozenset(self._starts),
            brought=DeviceFiles(),
        )

    def _after(self, inner: Future[Any], carried: CarriedShard) -> Future[Any]:
        """The future of a call's own result, which is done once its devices' files are written."""
        outer: Future[Any] = Future()
        outer.set_running_or_notify_cancel()

        def done(finished: Future[Any]) -> None:
            try:
                result, left = finished.result()
                with self._writing:  # several calls bring the same start
                    carried.write_left(left)
                    self._starts.update(left.starts)
            except BaseException as error:  # CancelledError is one
                outer.set_exception(error)
            else:
                outer.set_result(result)

        inner.add_done_callback(done)
        return outer
