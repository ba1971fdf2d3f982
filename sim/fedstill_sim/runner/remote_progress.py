"""A RunProgress in another process: what it is told travels through a pipe and is repeated here."""

from __future__ import annotations

from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from fedstill_sim.progress import RunProgress
from fedstill_sim.results.run_result import RoundResult


class ProgressCall(NamedTuple):
    """A call of a RunProgress, on its way from a worker to the parent."""

    method: str
    arguments: tuple[Any, ...]

    def repeat(self, progress: RunProgress) -> None:
        """Make the same call here."""
        if self.method in ("rounds", "devices_done"):
            label, total, done = self.arguments
            getattr(progress, self.method)(label, total=total, done=done)
        else:
            getattr(progress, self.method)(*self.arguments)


class RemoteProgress:
    """Sends the parent what a RunProgress is called with in a worker."""

    def __init__(self, pipe: Connection, label: str) -> None:
        self._pipe, self._label = pipe, label

    def expect(self, seconds: Mapping[str, float]) -> None:
        """Send nothing: the parent knows."""

    def phase(self, text: str, *, name: str = "") -> None:
        """Send that a phase begins."""
        labelled = text if self._label in text else f"{self._label}: {text}"
        self._pipe.send(ProgressCall("phase", (labelled,)))

    def rounds(self, method: str, *, total: int, done: int) -> None:
        """Send that rounds begin."""
        self._pipe.send(ProgressCall("rounds", (method, total, done)))

    def devices_done(self, method: str, *, done: int, total: int) -> None:
        """Send how far the open round is."""
        self._pipe.send(ProgressCall("devices_done", (method, total, done)))

    def round_done(self, method: str, finished: RoundResult) -> None:
        """Send that a round is committed."""
        self._pipe.send(ProgressCall("round_done", (method, finished)))
