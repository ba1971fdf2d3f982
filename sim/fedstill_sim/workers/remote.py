"""Workers that do not see this machine's files: what they read is sent, and lies where they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path

from fedstill_sim.workers.keeper import FileKeeper, Keeper


class RemoteExecutor(Executor, ABC):
    """An executor whose workers have folders of their own.

    Functions are called with the same paths as here; they ask `folder_here` where what a path names lies.
    """

    @property
    @abstractmethod
    def workers(self) -> int:
        """How many calls are made at once."""

    @abstractmethod
    def send_folder(self, folder: Path, files: Mapping[str, Path]) -> None:
        """Let calls from now on find these files in their copy of a folder, each sent once.

        Args:
            folder: A folder of this machine, as the calls' arguments name it.
            files: By their place in it (with "/"), the files; what was sent before stays, and a file that has
                changed since is sent anew.
        """

    @abstractmethod
    def keeper(self) -> Keeper:
        """Keeps what calls leave for later ones where the workers are."""

    @abstractmethod
    def peak_memory_mb(self) -> Sequence[float]:
        """Peak resident memory so far of each worker, in megabytes."""


_COPIES: dict[Path, Path] = {}


def folder_here(folder: Path) -> Path:
    """Where a worker finds what the caller has in a folder: in that folder, or in a copy of its own."""
    return _COPIES.get(folder, folder)


def know_copy(folder: Path, copy: Path) -> None:
    """Let this worker find a folder's files in a copy of it."""
    _COPIES[folder] = copy


def keeper_of(executor: Executor, folder: Path) -> Keeper:
    """Return what keeps arrays between an executor's calls: itself, or files in a folder that all see."""
    return executor.keeper() if isinstance(executor, RemoteExecutor) else FileKeeper(folder)


def files_below(folder: Path, *, place: str) -> Iterable[tuple[str, Path]]:
    """Yield the files in a folder, if it is there, with their places below `place`."""
    if folder.is_dir():
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                yield f"{place}/{path.relative_to(folder).as_posix()}", path
