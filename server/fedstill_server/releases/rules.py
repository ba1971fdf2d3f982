"""How a release goes on: its stages, and the gates between them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fedstill_server.releases.errors import ReleaseError


@dataclass(frozen=True, kw_only=True)
class ReleaseRules:
    """The rules of a release.

    Attributes:
        stages: The share of the devices in each stage, growing up to 1.
        least_time_s: Seconds that each stage lasts at least.
        least_reports: Devices of a stage that must have reported; where the stage has fewer, all of them.
        most_lost: By how much of the held-out examples fewer answers may be right, where it is more than
            chance explains.
        most_lost_anyway: The same of twenty examples or more, whatever chance explains.
        most_troubled: The share of devices that may have crashed with it, or failed to install it.
        most_refusing: The share of devices that may have refused a round since.
        slowest: How many times as long as before an answer may take, at the 95th percentile.
    """

    stages: tuple[float, ...] = (0.01, 0.1, 1.0)
    least_time_s: float = 3600.0
    least_reports: int = 20
    most_lost: float = 0.01
    most_lost_anyway: float = 0.1
    most_troubled: float = 0.05
    most_refusing: float = 0.5
    slowest: float = 2.0

    def __post_init__(self) -> None:
        grows = all(low < high for low, high in zip(self.stages, self.stages[1:], strict=False))
        if not self.stages or not grows or not self.stages[0] > 0 or self.stages[-1] != 1:
            shown = ",".join(f"{100 * share:g}" for share in self.stages)
            raise ReleaseError(
                f"stages: {shown or 'none'} are not percents that grow from above 0 to 100, as 1,10,100 do."
            )
        for name in ("most_lost", "most_lost_anyway", "most_troubled", "most_refusing"):
            if not 0 <= getattr(self, name) < 1:
                raise ReleaseError(f"{name}: {getattr(self, name)} is not a share from 0 to below 1.")
        if not 0 <= self.least_time_s < math.inf:
            raise ReleaseError(f"least_time_s: {self.least_time_s} is not 0 or a number of seconds.")
        if self.least_reports < 1:
            raise ReleaseError(f"least_reports: {self.least_reports} is not 1 or more.")
        if not 1 <= self.slowest < math.inf:
            raise ReleaseError(f"slowest: {self.slowest} is not 1 or more.")

    @classmethod
    def stages_of(cls, text: str) -> tuple[float, ...]:
        """The stages of a text of percents, such as "1,10,100"; raises ReleaseError."""
        try:
            return tuple(float(part) / 100 for part in text.split(","))
        except ValueError:
            raise ReleaseError(f"stages: {text!r} is not a list of percents such as 1,10,100.") from None
