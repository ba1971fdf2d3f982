"""The global prototypes of FedTGP, a small network that learns from those of the devices (fedtgp.py)."""

from __future__ import annotations

import numpy as np
import torch
from fedstill_proto.arrays import Float64Array
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from fedstill_server.consensus.aggregation import ClassVectors

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
