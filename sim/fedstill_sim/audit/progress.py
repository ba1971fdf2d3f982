"""How far an audit is, and how long it will go on."""

from __future__ import annotations

import time

from rich.console import Console

from fedstill_sim.results.readable import readable_seconds

_SECONDS_BETWEEN_LINES = 1.0


class AuditProgress:
    """Prints a line a second at most: what is done, the steps of all steps, and the time that is left.

    A step is a round of the fleet or of its shadows, and weighs as many device rounds as it has devices.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._what, self._weight = "", 1
        self._total, self._done = 0, 0
        self._began = self._printed = time.monotonic()

    def expect(self, total: int) -> None:
        """Say how many device rounds there are in all."""
        self._total, self._began = total, time.monotonic()

    def phase(self, what: str, *, weight: int) -> None:
        """A phase begins, each step of which is so many device rounds."""
        self._what, self._weight = what, weight
        self._print()

    def step(self) -> None:
        """A step is done."""
        self._done += self._weight
        if time.monotonic() - self._printed >= _SECONDS_BETWEEN_LINES:
            self._print()

    def _print(self) -> None:
        now = time.monotonic()
        self._printed = now
        left = ""
        if self._done and self._total > self._done:
            seconds = (now - self._began) / self._done * (self._total - self._done)
            left = f", {readable_seconds(seconds)} left"
        share = f" ({self._done / self._total:.0%}{left})" if self._total else ""
        self._console.print(f"{self._what}{share}", highlight=False, soft_wrap=True)
