"""The network, its training, and the digits: 1,797 scans of 8x8 pixels, which come with scikit-learn."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from flwr.app import Context
from sklearn.datasets import load_digits
from torch import nn

import fedstill as fs

CLASSES = 10
PUBLIC, TEST = 100, 400  # examples that everyone has


class Net(nn.Module):
    """A small convolutional network."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, kernel_size=3, padding=1)
        self.hidden = nn.Linear(8 * 4 * 4, 32)
        self.output = nn.Linear(32, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [batch, 10] of scans x [batch, 8, 8]."""
        x = nn.functional.max_pool2d(torch.relu(self.conv(x[:, None])), 2)
        logits: torch.Tensor = self.output(torch.relu(self.hidden(x.flatten(1))))
        return logits


def train(network: nn.Module, training: fs.flower.LocalTraining) -> None:
    """A round's training on a device. `training.loss` distils what the fleet knows, besides the labels."""
    optimizer = torch.optim.SGD(network.parameters(), lr=training.plan.learning_rate, momentum=0.9)
    for x, y in training.batches():
        optimizer.zero_grad()
        training.loss(network, x, y).backward()
        optimizer.step()


def public_set(context: Context) -> tuple[np.ndarray, np.ndarray]:
    """What server and devices share: with labels, of which the server's teacher learns."""
    x, y, _, shared = _digits()
    return x[shared[:PUBLIC]], y[shared[:PUBLIC]]


def test_set(context: Context) -> tuple[np.ndarray, np.ndarray]:
    """What everyone is tested on."""
    x, y, _, shared = _digits()
    return x[shared[PUBLIC:]], y[shared[PUBLIC:]]


def load_partition(context: Context) -> tuple[np.ndarray, np.ndarray]:
    """The private digits of a device: they lie one handwriting after another, and each gets a few."""
    x, y, private, _ = _digits()
    partition, partitions = (int(context.node_config[key]) for key in ("partition-id", "num-partitions"))
    own = np.array_split(private, partitions)[partition]
    return x[own], y[own]


@cache
def _digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """All scans and labels, the rows that are private, in stored order, and those that are not."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    shared, private = order[: PUBLIC + TEST], np.sort(order[PUBLIC + TEST :])
    return (x.reshape(-1, 8, 8) / 16).astype(np.float32), y, private, shared
