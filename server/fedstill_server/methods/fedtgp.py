"""FedTGP (Zhang et al. 2024, arXiv 2401.03230): global prototypes that are trained to stay apart.

The mean of prototypes that devices made of different data shrinks the margins between classes. Here a small
network on the server makes the global prototypes, g_c = F(e_c) of an embedding e_c for each class, and
learns from each device's prototypes p of class c by contrast with an adaptive margin:

    loss = -log( exp(-(d(p, g_c) + delta)) / (exp(-(d(p, g_c) + delta)) + sum_{k != c} exp(-d(p, g_k))) )
    delta = max over classes of the distance to the nearest other class's mean

It is a cross-entropy over distances, at least 0. The network goes on from round to round. What devices send
and what they learn from the prototypes is as in FedProto (fedproto.py), with all that differs there; the
paper caps delta, which relative features do already: no two of them are further apart than 2 sqrt(W).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from fedstill_proto.messages import SoftLabelSummary

from fedstill_server.config.options import option
from fedstill_server.consensus.aggregation import ClassVectors
from fedstill_server.methods.fedproto import FedProto
from fedstill_server.randomness import derived_seed
from fedstill_server.state import FleetState

if TYPE_CHECKING:
    from fedstill_server.methods.trainable_prototypes import TrainablePrototypes

_NETWORK = "trainable/"


class FedTgp(FedProto):
    line = "global prototypes that are trained to stay apart (FedTGP: Zhang et al. 2024, arXiv 2401.03230)"

    server_epochs: int = option(
        100, "Passes over the devices' prototypes in which the global ones learn.", least=1, most=100_000
    )
    server_learning_rate: float = option(
        0.01, "Learning rate of the global prototypes (Adam).", above=0, most=1
    )

    def zero(self, *, round_number: int) -> ClassVectors:
        return ClassVectors.zero(self.width)

    def contribution(
        self, state: FleetState, *, round_number: int
    ) -> Callable[[SoftLabelSummary], ClassVectors]:
        def vectors(summary: SoftLabelSummary) -> ClassVectors:
            statistics = summary.statistics
            assert statistics.features is not None  # the gate lets no other prototypes through
            weights = np.ones(len(statistics.present_classes))
            return ClassVectors(
                statistics.features.astype(np.float64), statistics.present_classes, weights, 1
            )

        return vectors

    def learn(self, state: FleetState, consensus: ClassVectors, *, round_number: int) -> FleetState:
        """Train the prototypes on those of the devices; classes that nobody has keep theirs."""
        if len(consensus.classes) == 0:
            return state
        # torch takes a second to import, which options and their errors do not need.
        import torch

        from fedstill_server.methods.trainable_prototypes import train
        from fedstill_server.training.networks import parameters_of

        network = self._network(state)
        train(
            network,
            consensus,
            epochs=self.server_epochs,
            learning_rate=self.server_learning_rate,
            seed=derived_seed(self.config.seed, round_number, "fedtgp"),
        )
        with torch.no_grad():
            prototypes = network().numpy().astype(np.float64)
        kept = {f"{_NETWORK}{name}": array for name, array in parameters_of(network).items()}
        state = state.replace(arrays={**state.arrays, **kept})
        answered = np.bincount(consensus.classes, minlength=self.config.classes) > 0
        return self.remember(state, prototypes, answered)

    def _network(self, state: FleetState) -> TrainablePrototypes:
        import torch

        from fedstill_server.methods.trainable_prototypes import TrainablePrototypes
        from fedstill_server.training.networks import load_parameters

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(self.config.seed, 0, "fedtgp"))
            network = TrainablePrototypes(self.config.classes, self.width)
        kept = {n.removeprefix(_NETWORK): a for n, a in state.arrays.items() if n.startswith(_NETWORK)}
        if kept:
            load_parameters(network, kept)
        return network
