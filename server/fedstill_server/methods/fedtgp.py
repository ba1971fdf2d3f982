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

import numpy as np
import torch
from fedstill_proto.arrays import Float64Array
from fedstill_proto.messages import SoftLabelSummary
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from fedstill_server.consensus.aggregation import ClassVectors
from fedstill_server.methods.fedproto import FedProto
from fedstill_server.randomness import derived_seed
from fedstill_server.state import FleetState
from fedstill_server.training.networks import load_parameters, parameters_of

_NETWORK = "trainable/"
_BATCH = 32  # device prototypes in a step


class TrainablePrototypes(nn.Module):
    """An embedding for each class, and two layers that make a prototype of it."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, width)
        self.hidden = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def forward(self) -> Tensor:
        return self.output(torch.relu(self.hidden(self.embedding.weight)))  # type: ignore[no-any-return]


class FedTgp(FedProto):
    line = "global prototypes that are trained to stay apart (FedTGP: Zhang et al. 2024, arXiv 2401.03230)"

    def zero(self, *, round_number: int) -> ClassVectors:
        return ClassVectors.zero(len(self.anchors))

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
        network = self._network(state)
        plan = self.config.prototypes
        train(
            network,
            consensus,
            epochs=plan.server_epochs,
            learning_rate=plan.server_learning_rate,
            seed=derived_seed(self.config.seed, round_number, "fedtgp"),
        )
        with torch.no_grad():
            prototypes = network().numpy().astype(np.float64)
        kept = {f"{_NETWORK}{name}": array for name, array in parameters_of(network).items()}
        state = state.replace(arrays={**state.arrays, **kept})
        answered = np.bincount(consensus.classes, minlength=self.config.classes) > 0
        return self.remember(state, prototypes, answered)

    def _network(self, state: FleetState) -> TrainablePrototypes:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(self.config.seed, 0, "fedtgp"))
            network = TrainablePrototypes(self.config.classes, len(self.anchors))
        kept = {n.removeprefix(_NETWORK): a for n, a in state.arrays.items() if n.startswith(_NETWORK)}
        if kept:
            load_parameters(network, kept)
        return network


def adaptive_margin(vectors: Float64Array, classes: np.ndarray) -> float:
    """The largest, over classes, of the distance to the nearest other class's mean; 0 for a single class."""
    means = np.stack([vectors[classes == one].mean(axis=0) for one in np.unique(classes)])
    if len(means) < 2:
        return 0.0
    distances = np.linalg.norm(means[:, None] - means, axis=-1) + np.diag(np.full(len(means), np.inf))
    return float(distances.min(axis=1).max())


def contrastive_loss(prototypes: Tensor, vectors: Tensor, classes: Tensor, *, margin: float) -> Tensor:
    """For each of the vectors [n, W] of `classes` [n], against all prototypes [classes, W]: [n]."""
    squared = ((vectors[:, None] - prototypes) ** 2).sum(-1)
    distances = (squared + 1e-12).sqrt()  # the gradient of a root is infinite at 0
    distances = distances + margin * one_hot(classes, len(prototypes))
    return cross_entropy(-distances, classes, reduction="none")


def train(
    network: TrainablePrototypes, given: ClassVectors, *, epochs: int, learning_rate: float, seed: int
) -> None:
    """Fit the network to the devices' prototypes, in place."""
    vectors = torch.from_numpy(given.vectors.astype(np.float32))
    classes, weights = torch.from_numpy(given.classes), torch.from_numpy(given.weights.astype(np.float32))
    margin = adaptive_margin(given.vectors, given.classes)
    random = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    for _ in range(epochs):
        for rows in torch.randperm(len(vectors), generator=random).split(_BATCH):  # type: ignore[no-untyped-call]
            losses = contrastive_loss(network(), vectors[rows], classes[rows], margin=margin)
            loss = (weights[rows] * losses).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
