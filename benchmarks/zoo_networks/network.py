"""One network of the zoo: how it is built, and what an example of it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fedstill_server.data.forms import AMOUNTS, ExampleForm
from torch import nn

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ZooNetwork:
    """A network and its examples.

    Attributes:
        build: Makes it from the shape of an example and the number of classes.
        input_shape: The shape of an example.
        form: What the examples are.
        classes: How many there are.
    """

    build: Callable[[Shape, int], nn.Module]
    input_shape: Shape
    form: ExampleForm = AMOUNTS
    classes: int = 10


FEATURES: Shape = (64,)
DIGIT: Shape = (1, 28, 28)
PICTURE: Shape = (3, 32, 32)
PHOTO: Shape = (3, 64, 64)
SENSORS: Shape = (9, 128)
SPECTROGRAM: Shape = (1, 49, 10)
SHORT_SENSORS: Shape = (9, 32)
TOKENS: Shape = (16,)
