"""A worker on a machine of the cluster: it makes one call after another, like a process of this machine."""

from __future__ import annotations

import atexit
import os
import socket
import sys
import traceback
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from fedstill_sim.cluster.handles import STORES, Arrays, HandleLost, StoredHandle
from fedstill_sim.cluster.node_folder import NodeFolder
from fedstill_sim.cluster.payload import read_call
from fedstill_sim.engine.memory import peak_memory_mb
from fedstill_sim.workers.calls import Work

_KEPT_BYTES = 4  # tasks of a round, as read from the object store

Answer = tuple[bool, Any, Sequence[str]]
"""Whether a call returned, what it returned or raised, and the names of what it kept."""


class CallActor:
    """What Ray runs: one of them has one thread, and holds whole stacks open between its calls."""

    def __init__(self, token: str, module_path: Sequence[str]) -> None:
        """Open the machine's folder.

        Args:
            token: The executor's.
            module_path: The caller's sys.path: what of it is here, too, is searched last.
        """
        sys.path += [path for path in module_path if path not in sys.path and Path(path).is_dir()]
        self._folder = NodeFolder(token)
        atexit.register(self._folder.close)
        self._store = STORES[token] = _CallStore()
        self._bytes: OrderedDict[str, bytes] = OrderedDict()

    def process(self) -> int:
        """The number that this machine's system knows the worker by."""
        return os.getpid()

    def peak_memory_mb(self) -> float:
        """Peak resident memory so far in megabytes."""
        return peak_memory_mb()

    def take(
        self,
        blobs: Mapping[str, Sequence[Any]],
        copies: Mapping[int, Mapping[str, str]],
        dropped: Sequence[int],
    ) -> None:
        """Write files to this machine's folder; `blobs` names the objects of each, piece by piece."""
        pieces = {name: _reader(references) for name, references in blobs.items()}
        self._folder.take(pieces, copies)
        for number in dropped:
            self._folder.drop(number)

    def call(self, work: Work, stored: Mapping[str, Any]) -> tuple[Answer, Mapping[str, Arrays] | None]:
        """Make a call; returns its answer, and apart from it what it kept, which stays here."""
        self._store.begin(stored)
        try:
            function, arguments, named = read_call(work, bytes_of=self._bytes_of, path_of=self._path_of)
            returned, value = True, function(*arguments, **named)
        except Exception as error:
            error.add_note(f"on {socket.gethostname()}, process {os.getpid()}:\n{traceback.format_exc()}")
            returned, value = False, error
        kept = self._store.end()
        return (returned, value, list(kept)), kept or None

    def _bytes_of(self, name: str) -> bytes:
        if name not in self._bytes:
            self._bytes[name] = bytes(self._store.object(name))
            while len(self._bytes) > _KEPT_BYTES:
                self._bytes.popitem(last=False)
        self._bytes.move_to_end(name)
        return self._bytes[name]

    def _path_of(self, number: int, place: str) -> Path:
        copy = self._folder.copy(number)
        copy.mkdir(exist_ok=True)
        return copy / place if place else copy


class _CallStore:
    """The object store as the call at work sees it."""

    def __init__(self) -> None:
        self._stored: Mapping[str, Any] = {}
        self._kept: dict[str, Arrays] = {}

    def begin(self, stored: Mapping[str, Any]) -> None:
        """Know the objects that a call names."""
        self._stored, self._kept = stored, {}

    def end(self) -> dict[str, Arrays]:
        """Return what the call kept, and hold nothing any more."""
        kept, self._kept, self._stored = self._kept, {}, {}
        return kept

    def object(self, name: str) -> Any:
        """Get an object that the call names, from wherever it lies."""
        import ray

        try:
            return ray.get(self._stored[name])
        except (ray.exceptions.ObjectLostError, ray.exceptions.ObjectReconstructionFailedError) as lost:
            raise HandleLost(f"an object of the cluster is gone: {str(lost).splitlines()[0]}") from None

    def keep(self, arrays: Arrays) -> StoredHandle:
        name = uuid.uuid4().hex
        self._kept[name] = arrays
        return StoredHandle(name)

    def read(self, handle: StoredHandle) -> dict[str, npt.NDArray[Any]]:
        return dict(self.object(handle.name)[handle.name])


def _reader(references: Sequence[Any]) -> Callable[[], Iterable[memoryview]]:
    def pieces() -> Iterable[memoryview]:
        import ray

        return (memoryview(ray.get(reference)) for reference in references)

    return pieces
