"""FedRep (Collins et al. 2021, arXiv 2102.07078): FedPer, whose devices fit the head before the body.

In a round a device first fits its head to the body that the fleet gave it, and then moves the body with the
head held: what it sends was learned for a head that knows its labels. The paper takes 10 or 15 epochs for the
head and 1 or 5 for the body; here the body has the last `body_epochs` of a round's, and the head all before,
so that a round is as much work as under other methods.
"""

from __future__ import annotations

from dataclasses import replace

from fedstill_proto.messages import RoundTask

from fedstill_server.config.options import option
from fedstill_server.methods.fedper import FedPer
from fedstill_server.state import FleetState


class FedRep(FedPer):
    line = "fedper, whose devices fit the last layer first (FedRep: Collins et al. 2021, arXiv 2102.07078)"
    body_epochs: int = option(
        1,
        "Epochs at the end of a round in which the body learns; in those before only the head does.",
        least=1,
    )

    def task(self, state: FleetState, *, round_number: int, family: str, newcomer: bool) -> RoundTask:
        task = super().task(state, round_number=round_number, family=family, newcomer=newcomer)
        head = max(task.training.epochs - self.body_epochs, 0)
        return replace(task, training=replace(task.training, local_epochs=head))
