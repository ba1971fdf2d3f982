"""The network that teaches fleets of pictures unless another one is named."""

from __future__ import annotations

from torch import Tensor, nn

from fedstill_server.families.family import Shape

_LEAST_SIDE = 12
_MOST_CHANNELS = 4


def is_picture(input_shape: Shape) -> bool:
    """Whether examples are [channels, height, width] of a picture large enough to be halved three times."""
    if len(input_shape) != 3:
        return False
    channels, height, width = input_shape
    return channels <= _MOST_CHANNELS and min(height, width) >= _LEAST_SIDE


class ImageClassifier(nn.Module):
    """Three blocks of convolution (3x3), batch normalization and ReLU, each of half the places of the one
    before, then the mean over places and a linear layer.
    """

    def __init__(
        self, input_shape: Shape, classes: int, *, channels: tuple[int, int, int] = (32, 64, 128)
    ) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        before = input_shape[0]
        for after in channels:
            blocks += [
                nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
            before = after
        self.blocks = nn.Sequential(*blocks)
        self.output = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.blocks(x).mean((2, 3)))  # type: ignore[no-any-return]
