"""What one learning of a device may cost, and what it has cost so far.

Energy is read from the processor's own counters (RAPL: Intel's and AMD's running average power limit, which
Linux shows under /sys/class/powercap) where the system lets this user read them. They count the whole
processor, whatever else it does. Elsewhere it is the stated power of the device times the time.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

from fedstill_proto.errors import FedstillError

POWERCAP = Path("/sys/class/powercap")
_STATM = Path("/proc/self/statm")


class BudgetError(FedstillError):
    """A budget is out of range, or this device cannot measure it."""


@dataclass(frozen=True)
class Budget:
    """Limits of one learning, over all its sessions; a limit of None is no limit."""

    seconds: float | None = None  # of the clock, while it trains and scores
    steps: int | None = None
    memory_mb: float | None = None  # resident memory of the process, in 10^6 bytes
    energy_joules: float | None = None
    power_watts: float | None = None  # the device's own, for energy where no counters can be read

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not (math.isfinite(value) and value > 0):
                raise BudgetError(f"budget {name} is {value}; give a number above 0, or none for no limit.")
        if self.steps is not None and self.steps != int(self.steps):
            raise BudgetError(f"budget steps is {self.steps}; give a whole number.")


@dataclass(frozen=True)
class LearningCost:
    """What a learning has cost so far."""

    seconds: float = 0.0
    joules: float | None = None  # None where it is not measured


class Meter:
    """Measures a session of a learning, on top of what the sessions before it have cost.

    Raises BudgetError where a limit is set that this device cannot measure.
    """

    def __init__(
        self, budget: Budget, *, before: LearningCost | None = None, powercap: Path = POWERCAP
    ) -> None:
        self._budget, self._before = budget, before or LearningCost()
        self._started = time.monotonic()
        self._counters = _counters(powercap)
        self._microjoules = 0
        if budget.energy_joules is not None and not self._counters and budget.power_watts is None:
            raise BudgetError(
                "budget energy_joules is set, and the processor's energy counters cannot be read here "
                f"({powercap}); state the device's power_watts."
            )
        if budget.memory_mb is not None:
            resident_mb()

    def cost(self) -> LearningCost:
        """The cost over all sessions."""
        here = time.monotonic() - self._started
        joules = self._joules(here)
        if joules is not None:
            joules += self._before.joules or 0.0
        return LearningCost(self._before.seconds + here, joules)

    def exhausted(self, steps: int) -> str | None:
        """Which limit has been reached after these many steps, in words."""
        budget, cost = self._budget, self.cost()
        if budget.steps is not None and steps >= budget.steps:
            return f"its {budget.steps} steps are taken"
        if budget.seconds is not None and cost.seconds >= budget.seconds:
            return f"its {budget.seconds:g} seconds are over"
        if budget.energy_joules is not None and cost.joules is not None:  # noqa: SIM102
            if cost.joules >= budget.energy_joules:
                return f"its {budget.energy_joules:g} joules are spent"
        if budget.memory_mb is not None and (here := resident_mb()) > budget.memory_mb:
            return f"the process takes {here:.0f} MB of memory, more than its {budget.memory_mb:g} MB"
        return None

    def _joules(self, seconds: float) -> float | None:
        if self._counters:
            for counter in self._counters:
                self._microjoules += counter.since_last()
            return self._microjoules / 1e6
        return None if self._budget.power_watts is None else self._budget.power_watts * seconds


class _Counter:
    """A counter of microjoules that starts again from 0 after its range."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "energy_uj"
        self._range = int((folder / "max_energy_range_uj").read_text())
        self._last = int(self._file.read_text())

    def since_last(self) -> int:
        now = int(self._file.read_text())
        passed, self._last = now - self._last, now
        return passed if passed >= 0 else passed + self._range


def _counters(powercap: Path) -> list[_Counter]:
    """One for each processor package ("intel-rapl:0"; its parts, "intel-rapl:0:1", are counted in it)."""
    counters = []
    for folder in sorted(powercap.glob("intel-rapl:*")):
        if folder.name.count(":") == 1:
            try:
                counters.append(_Counter(folder))
            except (OSError, ValueError):
                return []  # half of the processors would be an energy too low
    return counters


def resident_mb() -> float:
    """Memory of this process that is in RAM, in 10^6 bytes."""
    try:
        pages = int(_STATM.read_text().split()[1])
    except (OSError, ValueError, IndexError):
        raise BudgetError(
            f"budget memory_mb is set, and {_STATM} cannot be read here; leave it out."
        ) from None
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
