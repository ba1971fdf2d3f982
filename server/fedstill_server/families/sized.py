"""Families whose widths are in their names: mlp-32, mlp-64-32, cnn-4-8.

`mlp-<width>-<width>...` is a perceptron with a ReLU layer of each width; `cnn-<channels>-<channels>` is the
convolutional network with these channels. A search over sizes, a pruned student and a student's early exits
are families of this kind, so that a package says by its family's name how its student is built.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fedstill_server.families.classifiers import ConvolutionalNetwork
from fedstill_server.families.errors import FamilyError
from fedstill_server.families.family import Shape
from fedstill_server.families.sizes import widths_of


class DeepPerceptron(nn.Module):
    """A perceptron with ReLU layers of the widths `hidden` over the flattened example."""

    def __init__(self, input_shape: Sequence[int], classes: int, *, hidden: Sequence[int]) -> None:
        super().__init__()
        widths = [math.prod(input_shape), *hidden]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.output = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for layer in self.hidden:
            x = torch.relu(layer(x))
        return self.output(x)  # type: ignore[no-any-return]


def build_sized(family: str, input_shape: Shape, classes: int) -> nn.Module:
    """The student of a family whose name is of this form."""
    sized = widths_of(family)
    if sized is None:
        raise FamilyError(f"{family}: not a name such as mlp-64-32 or cnn-4-8")
    kind, widths = sized
    if kind == "cnn":
        return ConvolutionalNetwork(input_shape, classes, channels=(widths[0], widths[1]))
    return DeepPerceptron(input_shape, classes, hidden=widths)
