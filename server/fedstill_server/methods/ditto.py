"""Ditto (Li et al. 2021, arXiv 2012.04221): FedAvg, beside which each device has a student of its owner.

A device does FedAvg's round from the fleet's student w, and then goes on with its own v, which the fleet
never sees, by as many steps on

    h_i(v; w) = F_i(v) + proximal / 2 |v - w|^2

Its first v is the first w. The owner is answered by v; everyone, by the w that the device's last round began
with. The paper's devices choose lambda among .05, .1 and .2 by examples that they hold out; here it is an
option of the fleet. It takes twice FedAvg's steps and just its bytes.
"""

from __future__ import annotations

from fedstill_proto.messages import PersonalPlan

from fedstill_server.config.options import option
from fedstill_server.data.forms import Labels
from fedstill_server.methods.fedavg import FedAvg


class Ditto(FedAvg):
    line = "fedavg, and each owner's own student near the average (Ditto: Li et al. 2021, arXiv 2012.04221)"
    label_places = (Labels.ONE,)
    proximal: float = option(
        0.1, "Strength lambda of the pull of an owner's student to the fleet's.", least=0, most=1000
    )
    personal_epochs: int = option(
        0,
        "Passes of an owner's student over its examples in a round; 0 is as many as the round has.",
        least=0,
    )

    @property
    def knows_owner(self) -> bool:
        return True

    @property
    def goes_on(self) -> bool:
        return True  # an owner's own student stays on the device

    @property
    def personal_plan(self) -> PersonalPlan:
        plan = self.training
        return PersonalPlan(
            epochs=self.personal_epochs or plan.epochs,
            learning_rate=plan.learning_rate,
            proximal=self.proximal,
            own=True,
        )
