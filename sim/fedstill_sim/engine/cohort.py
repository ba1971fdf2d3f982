"""`CohortEngine`: answers the messages of a round for all virtual devices at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from flwr.app import Error, RecordDict

from fedstill_sim.grid import Handler


class CohortEngine:
    """Handlers for an InProcessGrid: the fleet in <run>/data, trained with the artifacts in <run>/artifacts.

    stack_sizes: devices that one run of the training graph trains together, by family (see fedstill_sim.artifacts).
    processes: worker processes of one thread each; None is one a core, 0 works in this process.
    """

    def __init__(self, run_folder: Path, *, stack_sizes: Mapping[str, int], processes: int | None = None) -> None:
        raise NotImplementedError  # lands within the hour; the signature is what run.py builds on

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """By message type: "query.hello", "train", "evaluate"."""
        raise NotImplementedError

    @property
    def peak_memory_mb(self) -> Sequence[float]:
        """Peak resident memory of this process and of each worker."""
        raise NotImplementedError

    def close(self) -> None:
        """End the workers."""
        raise NotImplementedError

    def __enter__(self) -> CohortEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
