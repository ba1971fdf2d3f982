"""What a sweep has come to."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from fedstill_server.inspection.speed.machine import Machine
from fedstill_server.sweep.curve import CapacityCurve
from fedstill_server.sweep.point import SizeSummary, SweepPoint


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep as far as it has come.

    Attributes:
        task: The task's name.
        teacher: The teachers, as they were named.
        techniques: By which the students were distilled.
        teacher_accuracy: The teachers' on the test examples; None without one.
        by_token: Whether losses are nats of next tokens, and not shares of wrong answers.
        planned: How many students there are to be.
        points: Those that are there.
        sizes: What all of one size come to.
        curves: Against parameters, FLOPs and latency; none before four sizes are there.
        pick: The smallest size that is near to the best; None before any is there.
        within: How near.
        machine: Where latency was measured.
    """

    task: str
    teacher: tuple[str, ...]
    techniques: tuple[str, ...]
    teacher_accuracy: float | None
    by_token: bool
    planned: int
    points: tuple[SweepPoint, ...]
    sizes: tuple[SizeSummary, ...]
    curves: tuple[CapacityCurve, ...]
    pick: SizeSummary | None
    within: float
    machine: Machine

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)
