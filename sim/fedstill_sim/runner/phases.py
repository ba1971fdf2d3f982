"""How long a run's phases took, kept in its folder so that a resumed run adds to what was spent before."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedstill_sim.results.json_files import read_json, write_json

PHASES_FILE = "phases.json"


class PhaseTimer:
    """Times the phases of one run."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / PHASES_FILE
        self.seconds: dict[str, float] = read_json(self._path) if self._path.exists() else {}

    @contextmanager
    def time(self, phase: str) -> Iterator[None]:
        """Add the time until the block ends, however it ends, to a phase."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.monotonic() - began
            write_json(self._path, self.seconds)
