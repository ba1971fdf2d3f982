"""Where workers keep what a round's next pass needs: near where it was made, behind a handle.

A million answers are gigabytes, which nobody wants to send. A worker keeps those of its devices and hands
back a handle; whoever gets that reads them again. Here that is a file of the run's folder; a cluster has
its own.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from fedstill_proto.errors import FedstillError

Arrays = Mapping[str, npt.NDArray[Any]]
Handle = Hashable
"""Names what was kept; it can be sent to any worker."""


class HandleLost(FedstillError):
    """What was kept is gone, with the machine that had it; whoever made it makes it anew."""


class Keeper(Protocol):
    """Keeps arrays for the other passes of a round; it can be sent to workers, where equal ones are one."""

    def __hash__(self) -> int: ...

    def keep(self, arrays: Arrays) -> Any:
        """Keep arrays until `clear`; returns their handle."""
        ...

    def read(self, handle: Any) -> dict[str, npt.NDArray[Any]]:
        """Return what was kept, which is not to be written to.

        Raises:
            HandleLost: It is gone.
        """
        ...

    def clear(self) -> None:
        """Forget all that was kept."""
        ...


@dataclass(frozen=True)
class FileKeeper:
    """Keeps arrays in files of a folder that all workers share."""

    folder: Path

    def keep(self, arrays: Arrays) -> str:
        """Write the arrays to one file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{uuid.uuid4().hex}.npz"
        np.savez(self.folder / name, **arrays)  # type: ignore[arg-type]
        return name

    def read(self, handle: Any) -> dict[str, npt.NDArray[Any]]:
        """Read a file."""
        path = self.folder / str(handle)
        try:
            with np.load(path, allow_pickle=False) as kept:
                return {name: kept[name] for name in kept.files}
        except FileNotFoundError:
            raise HandleLost(f"{path}: what a worker has kept for this round is gone") from None

    def clear(self) -> None:
        """Remove all files."""
        shutil.rmtree(self.folder, ignore_errors=True)
