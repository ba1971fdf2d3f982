"""No exchange: each device trains its own student on its own labels. What federation must beat."""

from __future__ import annotations

from collections.abc import Callable

from fedstill_proto.messages import RoundTask, SoftLabelSummary, SummaryKind, SummaryRequest
from fedstill_proto.package.target import TargetKind

from fedstill_server.consensus.aggregation import DeviceCount
from fedstill_server.data.forms import Labels
from fedstill_server.methods.interface import Method
from fedstill_server.state import FleetState


class Local(Method):
    line = "each device on its own; the baseline without exchange"
    exchanges = False
    answers = SummaryKind.NONE
    label_places = (Labels.ONE, Labels.EACH_PLACE)
    target_kinds = tuple(TargetKind)

    @property
    def knows_owner(self) -> bool:
        return True

    def task(self, state: FleetState, *, round_number: int, family: str, newcomer: bool) -> RoundTask:
        return self.asking(
            round_number=round_number,
            family=family,
            request=SummaryRequest(SummaryKind.NONE),
            parameters=state.students[family] if newcomer else {},
        )

    def zero(self, *, round_number: int) -> DeviceCount:
        return DeviceCount()

    def contribution(
        self, state: FleetState, *, round_number: int
    ) -> Callable[[SoftLabelSummary], DeviceCount]:
        return lambda summary: DeviceCount(1)

    def learn(self, state: FleetState, consensus: DeviceCount, *, round_number: int) -> FleetState:
        return state
