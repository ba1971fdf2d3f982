"""What a device's owner asks of a sum before the device takes part."""

from __future__ import annotations

from dataclasses import dataclass

from fedstill_proto.checks import check_integer
from fedstill_proto.secure_sums.errors import SumError
from fedstill_proto.secure_sums.graph import MOST_MEMBERS, SumGraph


class SumRefused(SumError):
    """The device does not take part in a step; the text reveals nothing of its data."""


@dataclass(frozen=True, kw_only=True)
class SumRule:
    """The owner's rule.

    Attributes:
        least_group: The fewest devices, this one included, whose sum the server may learn.
        curious_server: Whether it is enough that the server keeps to the protocol. Otherwise a group has to
            withstand one that tells every device another story.
    """

    least_group: int = 10
    curious_server: bool = False

    def __post_init__(self) -> None:
        check_integer("least_group", self.least_group, 2, MOST_MEMBERS)

    def check_size(self, members: int, what: str) -> None:
        """Raise SumRefused where a group is smaller than the owner allows."""
        if members < self.least_group:
            raise SumRefused(
                f"{members} devices {what}; this device's owner allows sums over {self.least_group} at least"
            )

    def check_graph(self, graph: SumGraph) -> None:
        """Raise SumRefused where a server that lies could open the device's numbers."""
        if not (graph.withstands_lies or self.curious_server):
            raise SumRefused(
                f"{graph.threshold} of {graph.neighbours} shares open a secret: a server that lies could "
                "collect both kinds. Ask for fewer dropouts or colluders"
            )
