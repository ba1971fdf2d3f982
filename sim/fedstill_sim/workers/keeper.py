"""What one call leaves for a later one, where the workers are: only its name comes back to the caller.

A round that reads its devices' answers twice has them made once: the first pass keeps a shard's answers, and
the second is handed what they are kept as. What is kept can be lost with the machine that keeps it; the work
that made it is then done again, with the same result.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from fedstill_proto.errors import FedstillError

Arrays = Mapping[str, npt.NDArray[Any]]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")


class KeptLost(FedstillError):
    """What a call had kept is not there any more: the call is to be made again."""


@dataclass(frozen=True)
class Kept:
    """What a keeper has under a name; it travels where the arrays do not."""

    name: str


class Keeper(Protocol):
    """Keeps arrays between calls. It can be pickled: calls get it as an argument."""

    def keep(self, name: str, arrays: Arrays) -> Kept:
        """Keep arrays, in a worker; the same name again replaces them.

        Args:
            name: Of letters, digits, "-" and "_"; the caller sees to it that no two calls use one.
            arrays: By name, of numbers.
        """

    def load(self, kept: Kept) -> Arrays:
        """Return what was kept; the arrays are not to be written to.

        Raises:
            KeptLost: It is not there any more.
        """

    def forget(self, kept: Iterable[Kept]) -> None:
        """Keep these no longer, in the process that makes the calls."""


@dataclass(frozen=True)
class FileKeeper:
    """Keeps arrays in a folder that all workers see, mapped when they are read."""

    folder: Path

    def keep(self, name: str, arrays: Arrays) -> Kept:
        """Write the arrays to files of this name."""
        folder = self._folder(name)
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.npy"):
            old.unlink()
        for key, array in arrays.items():
            np.save(folder / f"{_checked(key)}.npy", array, allow_pickle=False)
        return Kept(name)

    def load(self, kept: Kept) -> Arrays:
        """Map the files of a name."""
        folder = self._folder(kept.name)
        if not folder.is_dir():
            raise KeptLost(f"{folder} is gone; the work that made it is to be done again")
        return {
            file.stem: np.load(file, mmap_mode="r", allow_pickle=False)
            for file in sorted(folder.glob("*.npy"))
        }

    def forget(self, kept: Iterable[Kept]) -> None:
        """Remove the files of these names."""
        for one in kept:
            folder = self._folder(one.name)
            for file in folder.glob("*.npy"):
                file.unlink()
            if folder.is_dir():
                folder.rmdir()

    def _folder(self, name: str) -> Path:
        return self.folder / _checked(name)


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name to keep arrays by; use letters, digits, - and _")
    return name
