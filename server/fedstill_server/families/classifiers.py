"""Students that classify arrays: multilayer perceptrons and convolutional networks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fedstill_server.families.errors import FamilyError
from fedstill_server.families.family import Shape


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

    def __init__(self, input_shape: Shape, classes: int, *, channels: tuple[int, int] = (8, 16)) -> None:
        super().__init__()
        self.image = _image_shape(input_shape)  # channels, height, width
        colours, height, width = self.image
        flat = len(input_shape) == 1
        kernel, padding, self.pool = ((1, 3), (0, 1), (1, 2)) if flat else ((3, 3), (1, 1), (2, 2))
        pooled = height // self.pool[0] ** 2 * (width // self.pool[1] ** 2)
        if pooled < 1:
            raise FamilyError(
                f"cnn: input shape {list(input_shape)} is too small for two poolings of {self.pool}"
            )
        self.conv1 = nn.Conv2d(colours, channels[0], kernel, padding=padding)
        self.conv2 = nn.Conv2d(channels[0], channels[1], kernel, padding=padding)
        self.output = nn.Linear(channels[1] * pooled, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = x.reshape(-1, *self.image)
        x = torch.max_pool2d(torch.relu(self.conv1(x)), self.pool)
        x = torch.max_pool2d(torch.relu(self.conv2(x)), self.pool)
        return self.output(x.flatten(1))  # type: ignore[no-any-return]


class NormalizedConvolutionalNetwork(ConvolutionalNetwork):
    """The same with group normalization (Wu and He, 2018, arXiv:1803.08494) before a ReLU."""

    def __init__(self, input_shape: Shape, classes: int) -> None:
        super().__init__(input_shape, classes)
        self.norm1 = GroupNormalization(8, groups=2)
        self.norm2 = GroupNormalization(16, groups=4)

    def forward(self, x: Tensor) -> Tensor:
        x = x.reshape(-1, *self.image)
        x = torch.max_pool2d(torch.relu(self.norm1(self.conv1(x))), self.pool)
        x = torch.max_pool2d(torch.relu(self.norm2(self.conv2(x))), self.pool)
        return self.output(x.flatten(1))  # type: ignore[no-any-return]


class GroupNormalization(nn.Module):
    """Each group of channels of an image to mean 0 and variance 1, then a scale and a shift for each channel.

    torch's nn.GroupNorm, in operators whose gradients can be lowered. The weights have the rank of the image
    [channels, 1, 1]: a graph for a device must not reshape weights (see export/student.py).
    """

    def __init__(self, channels: int, *, groups: int, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.groups = groups
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        grouped = x.reshape(batch, self.groups, channels // self.groups * height * width)
        centred = grouped - grouped.mean(-1, keepdim=True)
        variance = (centred * centred).mean(-1, keepdim=True)
        normal = centred / (variance + self.epsilon).sqrt()
        return normal.reshape(batch, channels, height, width) * self.weight + self.bias


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


def cnn_norm(input_shape: Shape, classes: int) -> nn.Module:
    return NormalizedConvolutionalNetwork(input_shape, classes)
