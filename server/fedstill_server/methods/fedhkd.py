"""FedHKD (Chen et al. 2023, arXiv 2301.08968): hyper-knowledge, what a class looks like and what is said of
it.

A device sends both for each class that it has: its mean features h_ic and its mean soft label q_ic. The
server takes means over the devices that have the class (whatever they say of their examples),

    H_c = mean_i h_ic,    Q_c = mean_i q_ic

and a device's loss in the paper is CE + lambda mean_c ||softmax(head(H_c)) - Q_c|| + gamma ||f(x) - H_y||.

What differs, and why: a training step on a device has inputs for soft labels of its examples, but none for
features, and cannot run the head alone. The gamma term becomes a soft label as in FedProto (fedproto.py,
where features are made comparable, too); the lambda term, which teaches the head Q_c at H_c, becomes Q_y at
the device's own examples of y. The soft label of class y is their mean, q_y = (Q_y + likeness_y) / 2, in a
T^2 KL of at least 0. What is lost is the lambda term of classes that the device has no examples of, which is
the paper's help against forgetting them. The paper's noise for differential privacy is not part of the
method here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.messages import SoftLabelSummary, SummaryKind, SummaryRequest

from fedstill_server.consensus.aggregation import Both, RowSums
from fedstill_server.methods.fedproto import FedProto
from fedstill_server.state import FleetState

MEANS = "class_means"


class FedHkd(FedProto):
    line = "mean features and mean soft label of each class (FedHKD: Chen et al. 2023, arXiv 2301.08968)"
    answers = SummaryKind.CLASS_MEANS

    def start(self, state: FleetState) -> FleetState:
        state, classes = super().start(state), self.config.classes
        return state.replace(arrays={**state.arrays, MEANS: np.zeros((classes, classes), np.float32)})

    @property
    def request(self) -> SummaryRequest:
        return SummaryRequest(SummaryKind.CLASS_MEANS, self.config.uplink, anchor_rows=self.anchor_rows)

    def zero(self, *, round_number: int) -> Both[RowSums, RowSums]:
        classes = self.config.classes
        return Both(RowSums.zero(classes, self.width), RowSums.zero(classes, classes))

    def contribution(
        self, state: FleetState, *, round_number: int
    ) -> Callable[[SoftLabelSummary], Both[RowSums, RowSums]]:
        classes = self.config.classes
        return lambda summary: Both(
            RowSums.of_prototypes(summary.statistics, classes=classes),
            RowSums.of_class_means(summary.statistics, classes=classes),
        )

    def learn(self, state: FleetState, consensus: Both[RowSums, RowSums], *, round_number: int) -> FleetState:
        """Prototypes and mean soft labels of the classes that somebody has examples of."""
        answered = consensus.second.weights > 0
        means = np.where(answered[:, None], consensus.second.result(), state.arrays[MEANS])
        state = super().learn(state, consensus.first, round_number=round_number)
        return state.replace(arrays={**state.arrays, MEANS: means.astype(np.float32)})

    def taught(self, state: FleetState, present: IntArray) -> FloatArray:
        """Half what the fleet says of a class, half which classes look like it."""
        alike = super().taught(state, present)
        return np.asarray((state.arrays[MEANS][present] + alike) / 2, np.float32)
