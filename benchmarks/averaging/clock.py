"""Times the rounds of an engine in its own process, when the benchmark asks for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

from fedstill_proto.arrays import FloatArray, Parameters

from averaging.workload import flat


@dataclass(frozen=True)
class Outcome:
    """weights: of the global student after the workload's rounds. memory_mb: peak of each process."""

    weights: FloatArray
    memory_mb: list[float]


class Clock:
    """An engine calls `start` before each round and `stop` after it."""

    def __init__(self, connection: Connection, *, rounds: int) -> None:
        self._connection = connection
        self._rounds = rounds
        self._done = 0
        self._began = 0.0
        self.weights: FloatArray | None = None
        self.before_end: Callable[[], None] = lambda: None

    def start(self) -> bool:
        """Wait until the benchmark asks for a round; False when it wants no more."""
        self._connection.send("ready")
        if not self._connection.recv():
            self.before_end()
            return False
        self._began = time.perf_counter()
        return True

    def stop(self, student: Parameters) -> None:
        """End a round, whose new global student is given."""
        seconds = time.perf_counter() - self._began
        self._done += 1
        if self._done == self._rounds:
            self.weights = flat(student).copy()
        self._connection.send(seconds)
