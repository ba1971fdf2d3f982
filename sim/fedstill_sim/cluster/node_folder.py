"""A machine's copy of what a run's workers read: a temporary folder that goes with the last of them.

Each file lies once in blobs/, whatever folders name it; a folder's copy links to them. The workers of a
machine share the folder: whoever needs a file first writes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

_PREFIX = "fedstill-node-"
_NAME = re.compile(rf"{_PREFIX}[0-9a-f]{{32}}")
_ALIVE = "alive"
_YOUNG_S = 60.0  # a folder's first worker may not have locked it yet
_LAST_S = 5.0  # how long the folder of workers that are ending is waited for


class NodeFolder:
    """The folder, for one of the workers that share it; it is there as long as one has it open."""

    def __init__(self, token: str) -> None:
        """Open the folder of a run's executor, and remove those that killed workers have left.

        Args:
            token: 32 hexadecimal digits that nobody can guess.
        """
        _remove_left()
        self.path = folder_of(token)
        self.path.mkdir(mode=0o700, exist_ok=True)
        if self.path.is_symlink() or self.path.stat().st_uid != os.getuid():
            raise OSError(f"{self.path} is somebody else's")
        self._alive = (self.path / _ALIVE).open("ab")
        fcntl.flock(self._alive, fcntl.LOCK_SH)

    def copy(self, number: int) -> Path:
        """Where the copy of a folder lies, by its number."""
        return self.path / f"copy-{number}"

    def take(
        self,
        blobs: Mapping[str, Callable[[], Iterable[memoryview]]],
        copies: Mapping[int, Mapping[str, str]],
    ) -> None:
        """Write what is not there yet.

        Args:
            blobs: By name, what yields a file's bytes in pieces.
            copies: By a copy's number, the names of its files' bytes by their places in it.
        """
        with self._locked():
            folder = self.path / "blobs"
            folder.mkdir(exist_ok=True)
            for name, pieces in blobs.items():
                if not (folder / name).exists():
                    new = folder / f"{name}.new"
                    with new.open("wb") as file:
                        for piece in pieces():
                            file.write(piece)
                    new.replace(folder / name)
            for number, files in copies.items():
                for place, name in files.items():
                    _link(folder / name, self._inside(number, place))

    def drop(self, number: int) -> None:
        """Remove a copy, unless another worker has done so."""
        shutil.rmtree(self.copy(number), ignore_errors=True)

    def _inside(self, number: int, place: str) -> Path:
        path = self.copy(number) / place
        if ".." in path.parts:
            raise ValueError(f"{place!r} leads out of the folder")
        return path

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.path / "taking").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def close(self) -> None:
        """Leave the folder; the last removes it."""
        self._alive.close()
        _remove_if_left(self.path)


def folder_of(token: str) -> Path:
    """Where the folder of an executor lies on this machine."""
    name = f"{_PREFIX}{token}"
    if not _NAME.fullmatch(name):
        raise ValueError("a node's folder is named by 32 hexadecimal digits")
    return Path(tempfile.gettempdir()) / name


def remove_folder(token: str) -> None:
    """Remove a folder once its last worker is gone, for which this waits a little."""
    path, until = folder_of(token), time.monotonic() + _LAST_S
    while path.exists() and not _remove_if_left(path) and time.monotonic() < until:
        time.sleep(0.05)


def _remove_left() -> None:
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            status = path.lstat()
            mine = status.st_uid == os.getuid() and _NAME.fullmatch(path.name) and not path.is_symlink()
            if mine and time.time() - status.st_mtime > _YOUNG_S:
                _remove_if_left(path)


def _remove_if_left(path: Path) -> bool:
    """Remove a folder that no worker has open; return whether it is gone."""
    try:
        with (path / _ALIVE).open("ab") as alive:
            fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
    except FileNotFoundError:
        return not path.exists()
    except BlockingIOError:
        return False
    return True


def _link(target: Path, link: Path) -> None:
    if link.is_symlink() and Path(os.readlink(link)) == target:
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    new = link.with_name(f"{link.name}.{os.getpid()}.new")
    new.symlink_to(target)
    new.replace(link)
