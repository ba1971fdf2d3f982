"""The student families: small networks that fit a device, as plain torch modules.

A family is a function from the shape of one example and the number of classes to a module whose `forward`
takes `x: [batch, *input_shape]` and returns logits `[batch, classes]`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from fedstill_proto.errors import FedstillError
from torch import Tensor, nn

Shape = tuple[int, ...]


class FamilyError(FedstillError):
    """A family is unknown, or cannot be built for an input shape."""


class MultilayerPerceptron(nn.Module):
    """One hidden ReLU layer over the flattened example."""

    def __init__(self, input_shape: Shape, classes: int, *, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(math.prod(input_shape), hidden)
        self.output = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(torch.relu(self.hidden(x.flatten(1))))  # type: ignore[no-any-return]


class ConvolutionalNetwork(nn.Module):
    """Two blocks of convolution (3x3, padded), ReLU and 2x2 max pooling, then a linear layer.

    A flat example `[length]` is read as an image of height 1, with 1x3 kernels and 1x2 pools.
    """

    def __init__(self, input_shape: Shape, classes: int) -> None:
        super().__init__()
        self.image = _image_shape(input_shape)  # channels, height, width
        channels, height, width = self.image
        flat = len(input_shape) == 1
        kernel, padding, self.pool = ((1, 3), (0, 1), (1, 2)) if flat else ((3, 3), (1, 1), (2, 2))
        pooled = height // self.pool[0] ** 2 * (width // self.pool[1] ** 2)
        if pooled < 1:
            raise FamilyError(
                f"cnn: input shape {list(input_shape)} is too small for two poolings of {self.pool}"
            )
        self.conv1 = nn.Conv2d(channels, 8, kernel, padding=padding)
        self.conv2 = nn.Conv2d(8, 16, kernel, padding=padding)
        self.output = nn.Linear(16 * pooled, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = x.reshape(-1, *self.image)
        x = torch.max_pool2d(torch.relu(self.conv1(x)), self.pool)
        x = torch.max_pool2d(torch.relu(self.conv2(x)), self.pool)
        return self.output(x.flatten(1))  # type: ignore[no-any-return]


def _image_shape(input_shape: Shape) -> tuple[int, int, int]:
    if len(input_shape) not in (1, 2, 3):
        raise FamilyError(
            f"cnn: input shape {list(input_shape)} has {len(input_shape)} dimensions; "
            "give [length], [height, width] or [channels, height, width]"
        )
    channels, height, width = (1,) * (3 - len(input_shape)) + tuple(input_shape)
    return channels, height, width


def mlp_small(input_shape: Shape, classes: int) -> nn.Module:
    return MultilayerPerceptron(input_shape, classes, hidden=64)


def mlp_wide(input_shape: Shape, classes: int) -> nn.Module:
    return MultilayerPerceptron(input_shape, classes, hidden=256)


def cnn(input_shape: Shape, classes: int) -> nn.Module:
    return ConvolutionalNetwork(input_shape, classes)


FAMILIES: dict[str, Callable[[Shape, int], nn.Module]] = {
    "mlp-small": mlp_small,
    "mlp-wide": mlp_wide,
    "cnn": cnn,
}


def build_student(family: str, input_shape: Sequence[int], classes: int, *, seed: int = 0) -> nn.Module:
    """A student of `family` with torch's default initialization; the same seed gives the same student."""
    if family not in FAMILIES:
        raise FamilyError(f"unknown student family {family!r}; there are {', '.join(sorted(FAMILIES))}")
    if not input_shape or min(input_shape) < 1:
        raise FamilyError(f"{family}: input shape {list(input_shape)} must hold positive sizes")
    if classes < 2:
        raise FamilyError(f"{family}: {classes} classes; a classifier needs at least 2")
    with torch.random.fork_rng(devices=[]):  # leave the caller's random state alone
        torch.manual_seed(seed)
        return FAMILIES[family](tuple(input_shape), classes)


def initial_parameters(
    family: str, input_shape: Sequence[int], classes: int, seed: int
) -> dict[str, np.ndarray]:
    """Freshly initialized parameters by name, float32, in the module's order."""
    student = build_student(family, input_shape, classes, seed=seed)
    return {name: value.detach().numpy().copy() for name, value in student.named_parameters()}
