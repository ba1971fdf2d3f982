"""FedProx (Li et al. 2018, arXiv 1812.06127): FedAvg, whose devices are pulled back to what they were given.

A device minimizes its own loss and a proximal term, from the fleet's student w of the round:

    h_i(v; w) = F_i(v) + proximal / 2 |v - w|^2

so that devices whose data differ do not drift apart in a round. The average is FedAvg's. The pull is part of
the gradient of SGD and of momentum; beside AdamW it is a step of its own (the client's gradient_term.py). The
paper picks mu among .001, .01, .1 and 1 for each data set. Its devices may do less work than they are asked,
as devices may here.
"""

from __future__ import annotations

from dataclasses import replace

from fedstill_proto.messages import TrainingPlan

from fedstill_server.config.options import option
from fedstill_server.data.forms import Labels
from fedstill_server.methods.fedavg import FedAvg


class FedProx(FedAvg):
    line = "fedavg, whose devices are pulled back to the average (Li et al. 2018, arXiv 1812.06127)"
    label_places = (Labels.ONE,)
    proximal: float = option(
        0.01,
        "Strength mu of the pull of a device's student to the one that the round started from.",
        least=0,
        most=1000,
    )

    @property
    def training(self) -> TrainingPlan:
        return replace(self.config.training, proximal=self.proximal)
