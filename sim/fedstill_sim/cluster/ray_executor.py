"""`RayExecutor`: workers on the machines of a Ray cluster, behind the same Executor as processes of this one.

An actor is a worker: it has one thread, and holds what it opened from call to call. Files that workers read
are put into the object store once, and each machine writes them to a temporary folder of its own; large
arguments are stored once for all calls; what calls keep for later ones stays where it was made.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedstill_sim.cluster.actor import CallActor
from fedstill_sim.cluster.connection import ClusterError, Node, check_nodes, joined, nodes_of, on_node
from fedstill_sim.cluster.handles import STORES, Arrays, HandleLost, StoredHandle, StoreKeeper
from fedstill_sim.cluster.node_folder import remove_folder
from fedstill_sim.cluster.payload import write_call
from fedstill_sim.cluster.run_executor import RunExecutor
from fedstill_sim.workers.calls import QueueExecutor, Work, WorkerLost
from fedstill_sim.workers.remote import RemoteExecutor

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_PIECE_BYTES = 1 << 25  # of a file, in the object store
_STORED_BYTES = 8  # tasks that many calls bring: so many are remembered
_START_S = 120.0  # an actor that has not started by then has no processor to start on
_AGAIN_S = 60.0
_REMOVE_S = 20.0


@contextlib.contextmanager
def ray_executor(address: str, *, workers: int | None = None) -> Iterator[RayExecutor]:
    """Join a cluster, and have workers on it for as long as the block runs.

    Args:
        address: As for `joined`.
        workers: How many; None is one for each processor of the cluster.

    Raises:
        ClusterError: The cluster is not there, or its machines cannot do the work.
    """
    with joined(address, workers=workers) as ray:
        nodes = nodes_of(ray)
        check_nodes(ray, nodes)
        executor = RayExecutor(ray, nodes, workers=workers)
        try:
            yield executor
        finally:  # after Ctrl-C, say, nobody waits for what workers are at
            executor.shutdown(cancel_futures=True)


@dataclass
class _Sent:
    """What nodes are sent: the objects of each file's bytes, the files of each copy, and copies that go."""

    blobs: dict[str, Sequence[Any]] = field(default_factory=dict)
    copies: dict[int, dict[str, str]] = field(default_factory=dict)
    dropped: tuple[int, ...] = ()


class RayExecutor(QueueExecutor, RemoteExecutor):
    """Actors of a cluster that take calls from one queue.

    An actor that is lost is replaced on its node, and if the node is gone, the others go on without it.
    """

    def __init__(self, ray: Any, nodes: Sequence[Node], *, workers: int | None = None) -> None:
        """Start the actors.

        Args:
            ray: The module, joined to a cluster.
            nodes: Its machines.
            workers: How many actors, dealt to the nodes in turn; None is one a processor.

        Raises:
            ClusterError: Too few processors are free.
        """
        self._ray = ray
        self._token = uuid.uuid4().hex
        self._places: dict[Path, int] = {}  # the number of each folder's copy
        self._copies = 0
        self._versions: list[_Sent] = []
        self._known: dict[
            Path, dict[str, tuple[Any, str]]
        ] = {}  # by folder and place: a file's key, its blob
        self._blobs: dict[Any, str] = {}
        self._stored_bytes: OrderedDict[int, tuple[bytes, str, Any]] = OrderedDict()
        self._kept: dict[str, Any] = {}
        self._guard = threading.Lock()
        self._seats = _seats(nodes, workers)
        self._nodes = list(dict.fromkeys(self._seats))
        self._class = ray.remote(CallActor)
        STORES[self._token] = self
        first = [self._actor(node) for node in self._seats]
        try:
            self._ready(first, _START_S)
        except WorkerLost as lost:
            self._remove_folders()
            raise ClusterError(
                f"--cluster: {lost}. Wait until other work on the cluster is done, or give fewer --processes"
            ) from lost
        waiting = iter(first)
        super().__init__([self._start(node, waiting) for node in self._seats])

    def _start(self, node: Node, first: Iterator[_ActorWorker]) -> Any:
        own = [next(first)]

        def start() -> _ActorWorker:
            if own:
                return own.pop()
            worker = self._actor(node)
            self._ready([worker], _AGAIN_S)
            return worker

        return start

    def _actor(self, node: Node) -> _ActorWorker:
        try:
            actor = self._class.options(
                num_cpus=1,
                max_restarts=0,
                max_task_retries=0,
                scheduling_strategy=on_node(self._ray, node),
                runtime_env={"env_vars": _ONE_THREAD},
            ).remote(self._token, sys.path)
        except (self._ray.exceptions.RayError, ConnectionError) as error:
            raise WorkerLost(f"no worker can be started on node {node.address} ({error})") from None
        return _ActorWorker(self, actor, node)

    def _ready(self, workers: Sequence[_ActorWorker], seconds: float) -> None:
        """Wait until actors have started; those that cannot are given up, with all others."""
        asked = {worker.actor.process.remote(): worker for worker in workers}
        done, waiting = self._ray.wait(list(asked), num_returns=len(asked), timeout=seconds)
        try:
            for one in done:
                asked[one].process = self._ray.get(one)
            if waiting:
                node = asked[waiting[0]].node
                raise WorkerLost(f"node {node.address} has no free processor for a worker")
        except self._ray.exceptions.RayError as error:
            for worker in workers:
                worker.end()
            raise WorkerLost(f"a worker cannot start ({_last_line(error)})") from None
        except WorkerLost:
            for worker in workers:
                worker.end()
            raise

    @property
    def process_ids(self) -> tuple[tuple[str, int], ...]:
        """The address and the process of each worker."""
        return tuple(
            (worker.node.address, worker.process)
            for worker in self._workers
            if isinstance(worker, _ActorWorker)
        )

    def peak_memory_mb(self) -> Sequence[float]:
        """Peak resident memory so far of each worker, in megabytes."""
        there = [worker for worker in self._workers if isinstance(worker, _ActorWorker)]
        try:
            found: list[float] = self._ray.get([one.actor.peak_memory_mb.remote() for one in there])
        except self._ray.exceptions.RayError:
            return []
        return found

    def keeper(self) -> StoreKeeper:
        """Keeps arrays in the object store."""
        return StoreKeeper(self._token)

    def of_run(self, run_folder: Path) -> RunExecutor:
        """Return an executor of the same workers for calls about a run."""
        return RunExecutor(self, run_folder)

    def begin_copy(self, folder: Path) -> None:
        """Have a new copy of a folder on each node: workers hold files of the last one open."""
        if folder in self._places:
            self._versions.append(_Sent(dropped=(self._places[folder],)))
        self._places[folder] = self._copies
        self._copies += 1
        self._known[folder] = {}

    def send_folder(self, folder: Path, files: Mapping[str, Path]) -> None:
        """Let calls from now on find these files in their copy of a folder, each sent once."""
        new = _Sent()
        number = self._places[folder]
        known = self._known[folder]
        for place, path in files.items():
            status = path.stat()
            key = (path.resolve(), status.st_size, status.st_mtime_ns)
            if place in known and known[place][0] == key:
                continue
            if key not in self._blobs:
                self._blobs[key] = f"{len(self._blobs)}"
                new.blobs[self._blobs[key]] = self._pieces(path, status.st_size)
            known[place] = (key, self._blobs[key])
            new.copies.setdefault(number, {})[place] = self._blobs[key]
        if new.copies:
            self._versions.append(new)

    def _pieces(self, path: Path, size: int) -> list[Any]:
        """Put a file into the object store."""
        if size == 0:
            return []
        content = np.memmap(path, np.uint8, mode="r")
        starts = range(0, size, _PIECE_BYTES)
        return [self._ray.put(np.asarray(content[start : start + _PIECE_BYTES])) for start in starts]

    def sent_after(self, version: int) -> Iterator[_Sent]:
        """Yield what was sent after the first `version` times."""
        yield from itertools.islice(self._versions, version, None)

    def keep(self, arrays: Arrays) -> StoredHandle:
        """Store arrays of this process."""
        name = uuid.uuid4().hex
        self._kept[name] = self._ray.put({name: dict(arrays)})
        return StoredHandle(name)

    def read(self, handle: StoredHandle) -> dict[str, npt.NDArray[Any]]:
        """Return stored arrays."""
        try:
            return dict(self._ray.get(self.stored(handle))[handle.name])
        except (
            self._ray.exceptions.ObjectLostError,
            self._ray.exceptions.ObjectReconstructionFailedError,
        ) as lost:
            raise HandleLost(f"an object of the cluster is gone: {_last_line(lost)}") from None

    def clear(self) -> None:
        """Forget all that was kept."""
        self._kept.clear()

    def stored(self, handle: StoredHandle) -> Any:
        """Return the object that a handle names."""
        try:
            return self._kept[handle.name]
        except KeyError:
            raise HandleLost("what was kept on the cluster has been forgotten since") from None

    def know_kept(self, names: Sequence[str], reference: Any) -> None:
        """Know where what a call kept lies."""
        self._kept |= dict.fromkeys(names, reference)

    def stored_bytes(self, value: bytes) -> tuple[str, Any]:
        """Store bytes once, however many calls bring them."""
        with self._guard:
            key = id(value)  # the value is held, so nothing else gets this
            if key not in self._stored_bytes:
                reference = self._ray.put(np.frombuffer(value, np.uint8))
                self._stored_bytes[key] = (value, uuid.uuid4().hex, reference)
                while len(self._stored_bytes) > _STORED_BYTES:
                    self._stored_bytes.popitem(last=False)
            self._stored_bytes.move_to_end(key)
            _, name, reference = self._stored_bytes[key]
            return name, reference

    def place_of(self, path: Path) -> tuple[int, str] | None:
        """Return the number of the sent folder that a path lies in, and its place there, if it does."""
        for folder, number in self._places.items():
            if path == folder or folder in path.parents:
                place = path.relative_to(folder).as_posix()
                return number, "" if place == "." else place
        return None

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the actors, and remove what they wrote on their machines."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        self._kept.clear()
        self._stored_bytes.clear()
        self._versions.clear()
        if STORES.pop(self._token, None) is not None:
            self._remove_folders()

    def _remove_folders(self) -> None:
        """Remove the folder of each node that is still there."""
        exceptions = self._ray.exceptions
        remove = self._ray.remote(num_cpus=0, max_retries=0)(remove_folder)
        with contextlib.suppress(exceptions.RayError, ConnectionError, RuntimeError):
            alive = {node["NodeID"] for node in self._ray.nodes() if node["Alive"]}
            asked = [
                remove.options(scheduling_strategy=on_node(self._ray, node)).remote(self._token)
                for node in self._nodes
                if node.name in alive
            ]
            self._ray.wait(asked, num_returns=len(asked), timeout=_REMOVE_S)


class _ActorWorker:
    """An actor, as the thread that feeds it sees it."""

    def __init__(self, executor: RayExecutor, actor: Any, node: Node) -> None:
        self._executor, self.actor, self.node = executor, actor, node
        self._version = 0
        self.process = 0

    def call(self, work: Work) -> tuple[bool, Any]:
        ray, executor = self._executor._ray, self._executor
        exceptions = ray.exceptions
        sent_work, stored = write_call(
            work, of_handle=executor.stored, of_bytes=executor.stored_bytes, of_path=executor.place_of
        )
        try:
            for sent in executor.sent_after(self._version):
                ray.get(self.actor.take.remote(sent.blobs, sent.copies, sent.dropped))
                self._version += 1
            answer, kept = self.actor.call.options(num_returns=2).remote(sent_work, stored)
            returned, value, names = ray.get(answer)
        except exceptions.RayTaskError:
            raise  # the call's own: what it returned cannot be sent
        except (exceptions.RayActorError, exceptions.NodeDiedError, exceptions.ObjectLostError) as error:
            raise WorkerLost(self._death(error)) from None
        except (exceptions.RaySystemError, exceptions.OwnerDiedError, ConnectionError) as error:
            raise WorkerLost(f"the cluster is gone ({_last_line(error)})") from None
        executor.know_kept(names, kept)
        return returned, value

    def _death(self, error: Exception) -> str:
        reason = ": its machine ran out of memory" if "low on memory" in str(error) else ""
        return f"worker process {self.process} on node {self.node.address} has ended{reason}"

    def end(self) -> None:
        with contextlib.suppress(Exception):  # it, or the cluster, may be gone
            self._executor._ray.kill(self.actor)


def _seats(nodes: Sequence[Node], workers: int | None) -> list[Node]:
    """The node of each worker: all nodes have one before any has a second, and so on."""
    most = max(node.workers for node in nodes)
    dealt = [node for turn in range(most) for node in nodes if turn < node.workers]
    if workers is not None and workers > len(dealt):
        raise ClusterError(
            f"--processes {workers}: the cluster has {len(dealt)} processors; give at most those"
        )
    return dealt if workers is None else dealt[: max(workers, 1)]


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
