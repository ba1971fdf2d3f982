"""How a run sums what devices answer."""

from __future__ import annotations

from dataclasses import dataclass

from fedstill_proto.checks import check_integer, check_number
from fedstill_proto.errors import InvalidValue
from fedstill_proto.secure_sums.graph import LEAST_MEMBERS, MOST_MEMBERS

from fedstill_server.consensus.group_means import GROUP_FOLDS


@dataclass(frozen=True, kw_only=True)
class SecureSumsRule:
    """Sums that the server cannot open (docs/security.md).

    Attributes:
        group_size: About how many devices are summed together; 0 sums all of a round. The server learns the
        sum
            of each group, and may fold groups robustly.
        dropouts: The share of a group that may be gone after it has dealt its shares, and the sum still comes
            out, with all of its noise.
        colluders: The share of a group that may help the server.
        fold: How the means of groups become one, in words of GROUP_FOLDS.
        step_deadline_s: Seconds that a group has for each step after training.
    """

    group_size: int = 0
    dropouts: float = 0.2
    colluders: float = 0.05
    fold: str = "mean"
    step_deadline_s: float = 60.0

    def __post_init__(self) -> None:
        if self.group_size:
            check_integer("group_size", self.group_size, LEAST_MEMBERS, MOST_MEMBERS)
        if self.fold not in GROUP_FOLDS:
            raise InvalidValue("fold", f"{self.fold!r} is not one of {', '.join(GROUP_FOLDS)}")
        if self.fold != "mean" and not self.group_size:
            raise InvalidValue("fold", f"{self.fold!r} of one group; say a group_size")
        check_number("dropouts", self.dropouts, 0, 0.9)
        check_number("colluders", self.colluders, 0, 0.9)
        if not (isinstance(self.step_deadline_s, int | float) and 0 < self.step_deadline_s < 1e6):
            raise InvalidValue(
                "step_deadline_s", f"{self.step_deadline_s!r} is not a number of seconds above 0"
            )

    def groups_of(self, devices: int) -> int:
        """Into how many groups so many devices are dealt: as equal as can be, and none is too small."""
        if self.group_size == 0:
            return 1
        return max(1, round(devices / self.group_size))
