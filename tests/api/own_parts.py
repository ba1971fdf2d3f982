"""A network and a method of one's own, which other processes could import."""

from __future__ import annotations

import math

from torch import Tensor, nn

from fedstill import methods


class OwnNet(nn.Module):
    """A perceptron of one hidden layer."""

    def __init__(self, input_shape: tuple[int, ...], classes: int, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(math.prod(input_shape), width), nn.ReLU(), nn.Linear(width, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits


class Patient(methods.Fedstill):
    """fedstill, whose first rounds move little."""

    warm_up: int = methods.option(5, "Rounds until a step has its whole length.", least=1)

    def step_length(self, round_number: int) -> float:
        return super().step_length(round_number) * min(1, round_number / self.warm_up)
