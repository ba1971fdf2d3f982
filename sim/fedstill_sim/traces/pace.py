"""When rounds begin in virtual time: as many a day as the server allows, once enough devices are there.

The rules are those of a real fleet's schedule (fedstill_server.rounds.scheduled): a round waits until as many
devices are there as it wants answers, or half of the fleet, and a day has so many rounds at most. Days begin
at 0:00 UTC.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fedstill_server.config.fleet import CohortRule

from fedstill_sim.traces.columns import DAY_S

LOOK_AGAIN_S = 60.0


@dataclass(frozen=True, kw_only=True)
class TracePace:
    """When a round may begin.

    Attributes:
        rounds_a_day: So many at most; None is no limit.
        least_devices: Devices that have to be there.
        pause_s: Seconds from the end of a round to the beginning of the next.
    """

    rounds_a_day: int | None
    least_devices: int
    pause_s: float = 0.0

    def allowed_at(self, now_s: float, ended_s: Sequence[float]) -> float:
        """The first second from now at which the day has a round left, and the pause is over.

        Args:
            now_s: Now.
            ended_s: When the rounds so far ended, in order.
        """
        most = self.rounds_a_day
        if most is not None and len(ended_s) >= most and ended_s[-most] // DAY_S >= now_s // DAY_S:
            now_s = (now_s // DAY_S + 1) * DAY_S
        return max(now_s, ended_s[-1] + self.pause_s) if ended_s else now_s


def least_devices(asked: int, cohort: CohortRule, devices: int) -> int:
    """How many devices have to be there: as asked for, or what a round waits for, or half of the fleet."""
    return max(asked or cohort.goal_count or math.ceil(devices / 2), 1)
