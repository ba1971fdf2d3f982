"""Workers that do not see this machine's files: what they read is sent, and what they write comes back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any


class RemoteExecutor(Executor, ABC):
    """An executor whose workers have folders of their own."""

    @property
    @abstractmethod
    def workers(self) -> int:
        """How many calls are made at once."""

    @abstractmethod
    def of_run(self, run_folder: Path) -> RemoteExecutor:
        """Return an executor of the same workers for calls about a run.

        What the calls read of the run's folder is where its path leads them, and what they write to devices'
        files is in this machine's folder when their futures are done. It need not be shut down.
        """

    @abstractmethod
    def keeper(self) -> Any:
        """Keeps arrays between calls, as fedstill_sim.workers.keeper.Keeper, where the workers are."""

    @abstractmethod
    def peak_memory_mb(self) -> Sequence[float]:
        """Peak resident memory so far of each worker, in megabytes."""
