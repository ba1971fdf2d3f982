"""FedPer (Arivazhagan et al. 2019, arXiv 1912.00818): FedAvg of all but the head, which stays on the device.

A device's student is a body and a head, its last layer `output`, which turns features into logits. All of it
learns in a round, and the bodies are averaged: devices share what features are, and each says what its labels
are. The first head comes with a device's first student. Devices are measured with the averaged body and their
own heads, which are of the body of their last round.
"""

from __future__ import annotations

from typing import ClassVar

from fedstill_proto.arrays import Parameters

from fedstill_server.config.codec import ConfigError
from fedstill_server.data.forms import Labels
from fedstill_server.methods.fedavg import FedAvg
from fedstill_server.state import FleetState

_HEAD = "output."


class FedPer(FedAvg):
    line = "fedavg of all but the last layer, which stays (FedPer: Arivazhagan et al. 2019, arXiv 1912.00818)"
    label_places = (Labels.ONE,)
    keeps_parts: ClassVar[bool] = True

    @property
    def knows_owner(self) -> bool:
        """A head that learns one owner's labels alone knows how frequent they are."""
        return True

    def start(self, state: FleetState) -> FleetState:
        for family, student in state.students.items():
            self.local_parameters(family, student)  # refuses those without a head
        return super().start(state)

    def local_parameters(self, family: str, student: Parameters) -> tuple[str, ...]:
        head = tuple(name for name in student if name.startswith(_HEAD))
        if not head or len(head) == len(student):
            raise ConfigError(
                f"families: students of {family!r} have no last layer named output behind other layers, and "
                "so no head that could stay on a device"
            )
        return head
