"""A fleet in virtual time by its trace: who is there at a second, and when a device's work is done."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import IntArray

from fedstill_sim.traces.columns import FleetTrace, Floats, Mask, Windows

_BITS = 8 / 1e6  # megabits of a byte


@dataclass(frozen=True, eq=False)
class TraceSchedule:
    """When devices are there, and how long their work takes, by the second.

    Attributes:
        windows: When each may be asked.
        compute_s: Seconds that each computes for a round [devices].
        down_s: Seconds in which each receives a byte [devices].
        up_s: Seconds in which each sends a byte [devices].
        resumes: Whether work that a window's end interrupts goes on in the next window; otherwise it is lost.
    """

    windows: Windows
    compute_s: Floats
    down_s: Floats
    up_s: Floats
    resumes: bool

    @classmethod
    def of(cls, trace: FleetTrace, compute_s: Floats, *, when: str, resumes: bool) -> TraceSchedule:
        """That of a trace.

        Args:
            trace: The fleet's.
            compute_s: Seconds that each device computes for a round [devices].
            when: In which sessions a device may be asked: columns.CHARGING or columns.ONLINE.
            resumes: Whether interrupted work goes on later.
        """
        return cls(trace.windows(when), compute_s, _BITS / trace.down_mbps, _BITS / trace.up_mbps, resumes)

    def there(self, now_s: float) -> Mask:
        """Which devices are there [devices]."""
        return self.windows.there(now_s)

    def worked_at(self, devices: IntArray, began_s: Floats, task_bytes: Floats) -> Floats:
        """When devices that begin at a second have received their tasks and done their work [n].

        Infinite where a device is interrupted and does not go on.
        """
        work_s = task_bytes * self.down_s[devices] + self.compute_s[devices]
        return self.windows.until(devices, began_s, work_s, resumes=self.resumes)

    def sent_at(self, devices: IntArray, worked_s: Floats, answer_bytes: Floats) -> Floats:
        """When devices have sent their answers [n]; infinite where they never have."""
        sent = np.full(len(devices), np.inf)
        done = np.isfinite(worked_s)
        some = devices[done]
        sent[done] = self.windows.until(
            some, worked_s[done], (answer_bytes * self.up_s[devices])[done], resumes=self.resumes
        )
        return sent
