"""Student families of one's own, as a person may write them; named by tests as module:name."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class TinyNet(nn.Module):
    """A perceptron that takes all that a family is told."""

    def __init__(self, input_shape: tuple[int, ...], classes: int, *, hidden: int = 5) -> None:
        super().__init__()
        self.hidden = nn.Linear(math.prod(input_shape), hidden)
        self.output = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(torch.relu(self.hidden(x.flatten(1))))  # type: ignore[no-any-return]


def of_classes(classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(classes))


def of_num_classes(num_classes: int = 10, width: int = 3) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.ReLU(), nn.Linear(width, num_classes))


def of_shape(*, input_shape: tuple[int, ...]) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), 4))


def fixed() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 4))


class NextWord(nn.Module):
    """A student of text: logits of the word after each."""

    task = "text"

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.embedding(x)  # type: ignore[no-any-return]


def needs_a_width(width: int) -> nn.Module:
    return nn.Linear(width, width)


def wrong_classes(classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(classes + 1))


def no_network(classes: int) -> object:
    return [classes]


def fails(classes: int) -> nn.Module:
    raise RuntimeError(f"no room for {classes}")


def normalizes_batches(classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(6), nn.Linear(6, classes))


def averages_batches(classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(6, momentum=None), nn.Linear(6, classes))


class Remembers(nn.Module):
    """Keeps a buffer of its own that moves."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.output = nn.Linear(6, classes)
        self.register_buffer("seen", torch.zeros(6))
        self.seen: Tensor

    def forward(self, x: Tensor) -> Tensor:
        self.seen += x.mean(0) + 1
        return self.output(x - self.seen)  # type: ignore[no-any-return]


def of_no_task(classes: int) -> nn.Module:
    return of_classes(classes)


of_no_task.task = 7  # type: ignore[attr-defined]
NUMBER = 3
