"""A run's cost as a line through what smaller runs of its kind took: a fixed part and one a device."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fedstill_sim.costs.observed import Observation
from fedstill_sim.workers.pool import usable_cores

START = "start"  # imports, and reading the command
START_S = 3.0
BASELINE = "baseline "
_DEVICES_A_PROCESS = 128  # eight stacks of 16, as most fleets are stacked


@dataclass(frozen=True, kw_only=True)
class CostEstimate:
    """What a run will take on this machine: memory, disk and bytes within a factor of two, seconds roughly.

    Attributes:
        devices: Of its fleet.
        rounds: How many it has.
        beside: How many processes make the baselines while the run's own rounds go on.
        seconds: By phase: start, data, graphs, preparation, rounds, export, baseline <name>, ...
        peak_memory_bytes: Of all processes together.
        uplink_bytes: Of all rounds and devices.
        downlink_bytes: Of all rounds and devices.
        disk_bytes: Of the run's folder.
    """

    devices: int
    rounds: int
    beside: int
    seconds: Mapping[str, float]
    peak_memory_bytes: float
    uplink_bytes: float
    downlink_bytes: float
    disk_bytes: float

    @property
    def total_seconds(self) -> float:
        """All phases, of which baselines and rounds may go on together."""
        baselines = [spent for name, spent in self.seconds.items() if name.startswith(BASELINE)]
        after_another = sum(self.seconds.values()) - sum(baselines)
        if not self.beside:
            return after_another + sum(baselines)
        at_once = max([sum(baselines) / self.beside, *baselines])
        return after_another + max(0.0, at_once - self.seconds["rounds"])


def estimated(
    observations: Sequence[Observation],
    *,
    devices: int,
    rounds: int,
    baselines: Sequence[str] = (),
    beside: int = 0,
) -> CostEstimate | None:
    """Estimate a run from others of its kind; None where none is known.

    Args:
        observations: Of runs of its kind, of any number of devices.
        devices: Of its fleet.
        rounds: Of the run.
        baselines: What runs beside it; of one that was not observed nothing is said.
        beside: How many processes make the baselines while the run's own rounds go on.
    """
    if not observations:
        return None
    line = _Line(observations, devices)
    seconds = {START: START_S}
    for phase in {name: None for one in observations for name in one.phases}:
        seconds[phase] = line.at(functools.partial(_phase, phase))
    seconds |= _seconds(line, None, rounds)
    for name in baselines:
        if all(name in one.baselines for one in observations):
            seconds[f"{BASELINE}{name}"] = sum(_seconds(line, name, rounds).values())
    asked = line.at(operator.attrgetter("asked"))
    first, down, up = (
        line.level(operator.attrgetter(name)) for name in ("first_downlink", "downlink", "uplink")
    )
    return CostEstimate(
        devices=devices,
        rounds=rounds,
        beside=beside,
        seconds=seconds,
        peak_memory_bytes=line.level(operator.attrgetter("memory_bytes")),
        uplink_bytes=asked * up * rounds,
        downlink_bytes=asked * (first + down * (rounds - 1)),
        disk_bytes=line.at(operator.attrgetter("disk_bytes")),
    )


def _phase(name: str, one: Observation) -> float:
    return one.phases.get(name, 0.0)


def _seconds(line: _Line, baseline: str | None, rounds: int) -> dict[str, float]:
    """What the rounds of a run take, or of a baseline, and what is before them."""

    def of(name: str) -> Callable[[Observation], float]:
        return lambda one: getattr(one.run if baseline is None else one.baselines[baseline], name)

    first, other = (line.at(of(name), shared=True) for name in ("first_round_s", "round_s"))
    return {"preparation": line.at(of("preparing_s")), "rounds": first + (rounds - 1) * other}


class _Line:
    """Figures at a number of devices, on a line through the two observations next to it."""

    def __init__(self, observations: Sequence[Observation], devices: int) -> None:
        self._devices = devices
        newest = {one.devices: one for one in observations}
        nearest = sorted(newest.values(), key=lambda one: abs(one.devices - devices))[:2]
        self._near = sorted(nearest, key=lambda one: one.devices)
        self._processes = max(1, min(usable_cores(), devices // _DEVICES_A_PROCESS))

    def at(self, of: Callable[[Observation], float], *, shared: bool = False) -> float:
        """The figure at that many devices; `shared` is work that worker processes share."""
        least, most = self._near[0], self._near[-1]
        nearest = min(self._near, key=lambda one: abs(one.devices - self._devices))
        slope = max(0.0, of(most)) / most.devices  # of one point, a line through nothing
        if least.devices < most.devices:
            slope = max(0.0, (of(most) - of(least)) / (most.devices - least.devices))
        elif self._devices < most.devices:
            slope = 0.0
        more = slope * (self._devices - nearest.devices)
        if shared and more > 0:
            more *= max(1, most.processes) / self._processes
        return max(0.0, of(nearest) + more)

    def level(self, of: Callable[[Observation], float]) -> float:
        """The figure of the larger fleet, of what does not grow with it."""
        return of(self._near[-1])
