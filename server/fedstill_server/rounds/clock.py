"""What time it is for a run: the wall clock's, or the virtual time of a simulated Grid."""

from __future__ import annotations

import time
from typing import Protocol, runtime_checkable

from flwr.serverapp import Grid


class Clock(Protocol):
    """Seconds since some beginning, and a way to let them pass."""

    def now_s(self) -> float: ...

    def wait(self, pause_s: float, *, until_s: float) -> None:
        """Let time pass: about `pause_s`, or until something happens where the clock can know; not beyond
        `until_s`."""
        ...


@runtime_checkable
class SettableClock(Clock, Protocol):
    """A clock that can be set: a resumed run goes on at the second at which it stopped."""

    def start_at(self, seconds: float) -> None: ...


@runtime_checkable
class ClockedGrid(Protocol):
    """A Grid that may bring its own clock, as a simulation's does."""

    @property
    def clock(self) -> SettableClock | None: ...


class WallClock:
    """Real seconds."""

    def now_s(self) -> float:
        return time.monotonic()

    def wait(self, pause_s: float, *, until_s: float) -> None:
        time.sleep(max(0.0, min(pause_s, until_s - self.now_s())))


def clock_of(grid: Grid) -> Clock:
    """The clock that answers of this grid come by."""
    own = grid.clock if isinstance(grid, ClockedGrid) else None
    return WallClock() if own is None else own
