"""What ends a run, so that it counts no round for a generation of the fleet that is over."""

from __future__ import annotations

from fedstill_proto.errors import FedstillError


class GenerationOver(FedstillError):
    """Another generation of the fleet is in force: the run's round counts for nothing, and the run ends."""

    def __init__(self, generation: int, in_force: int) -> None:
        super().__init__(f"generation {generation} of the fleet is over: {in_force} is in force now")
