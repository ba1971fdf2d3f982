"""Networks of images: LeNet-5 to ConvNeXt, a transformer and a mixer, at the sizes of small devices."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.zoo_networks.network import DIGIT, PICTURE, Shape, ZooNetwork

Norm = Callable[[int], nn.Module]


class LeNet(nn.Module):
    """LeNet-5 (LeCun et al., 1998) with a normalization and a way to shrink."""

    def __init__(
        self, input_shape: Shape, classes: int, *, norm: Norm = lambda n: nn.Identity(), shrink: str = "max"
    ) -> None:
        super().__init__()
        stride = 2 if shrink == "stride" else 1
        pools = {"max": nn.MaxPool2d(2), "average": nn.AvgPool2d(2), "stride": nn.Identity()}
        self.body = nn.Sequential(
            nn.Conv2d(input_shape[0], 6, 5, padding=2, stride=stride),
            norm(6),
            nn.ReLU(),
            pools[shrink],
            nn.Conv2d(6, 16, 5),
            norm(16),
            nn.ReLU(),
            pools[shrink],
            nn.Flatten(),
        )
        with torch.no_grad():
            width = self.body.eval()(torch.zeros(1, *input_shape)).shape[1]
        self.body.train()
        self.head = nn.Sequential(nn.Linear(width, 84), nn.ReLU(), nn.Linear(84, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class BasicBlock(nn.Module):
    """Two convolutions and the way around them (He et al., 2015, arXiv:1512.03385)."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = norm(outputs)
        self.around: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.around = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm1(self.conv1(x)), inplace=True)
        y = self.norm2(self.conv2(y))
        return functional.relu(y + self.around(x), inplace=True)


class ResNet(nn.Module):
    """The ResNet of 6 n + 2 layers for small images (He et al., 2015, arXiv:1512.03385)."""

    def __init__(self, input_shape: Shape, classes: int, *, n: int, norm: Norm = nn.BatchNorm2d) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(input_shape[0], 16, 3, 1, 1, bias=False), norm(16), nn.ReLU()]
        width = 16
        for outputs, stride in ((16, 1), (32, 2), (64, 2)):
            for block in range(n):
                layers.append(BasicBlock(width, outputs, stride if block == 0 else 1, norm))
                width = outputs
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x))


class Separable(nn.Module):
    """A depthwise convolution and a pointwise one (MobileNet: Howard et al., 2017, arXiv:1704.04861)."""

    def __init__(self, inputs: int, outputs: int, activation: Callable[[], nn.Module], norm: Norm) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.norm1 = norm(inputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.norm2 = norm(outputs)
        self.activation = activation()
        self.is_residual = inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.activation(self.norm1(self.depthwise(x)))
        y = self.norm2(self.pointwise(y))
        return x + y if self.is_residual else self.activation(y)


class SmallMobileNet(nn.Module):
    """A convolution that halves the image, and two separable ones."""

    def __init__(
        self,
        input_shape: Shape,
        classes: int,
        *,
        activation: Callable[[], nn.Module],
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(input_shape[0], 16, 3, stride=2, padding=1),
            Separable(16, 16, activation, norm),
            Separable(16, 32, activation, norm),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.output = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.body(x))


class SqueezeExcitation(nn.Module):
    """Channels weighed by what the whole image says (Hu et al., 2017, arXiv:1709.01507)."""

    def __init__(self, input_shape: Shape, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(input_shape[0], 16, 3, padding=1)
        self.squeeze = nn.Conv2d(16, 4, 1)
        self.excite = nn.Conv2d(4, 16, 1)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.output = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.silu(self.conv1(x))
        weight = functional.relu(self.squeeze(functional.adaptive_avg_pool2d(x, 1)))
        x = x * torch.sigmoid(self.excite(weight))
        return self.output(functional.silu(self.conv2(x)).mean((2, 3)))


class VisionTransformer(nn.Module):
    """One block of a vision transformer (Dosovitskiy et al., 2020, arXiv:2010.11929)."""

    def __init__(self, input_shape: Shape, classes: int, *, width: int = 32, patch: int = 8) -> None:
        super().__init__()
        self.embedding = nn.Conv2d(input_shape[0], width, patch, stride=patch)
        patches = (input_shape[1] // patch) * (input_shape[2] // patch)
        self.places = nn.Parameter(torch.randn(patches, width) * 0.02)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.output = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedding(x).flatten(2).transpose(1, 2) + self.places
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        x = x + self.mlp(self.norm2(x))
        return self.output(self.norm3(x).mean(1))


class Mixer(nn.Module):
    """MLP-Mixer (Tolstikhin et al., 2021, arXiv:2105.01601): two blocks."""

    def __init__(self, input_shape: Shape, classes: int, *, width: int = 32, patch: int = 8) -> None:
        super().__init__()
        self.embedding = nn.Conv2d(input_shape[0], width, patch, stride=patch)
        patches = (input_shape[1] // patch) * (input_shape[2] // patch)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(5))
        self.tokens = nn.ModuleList(self._mlp(patches, 32) for _ in range(2))
        self.channels = nn.ModuleList(self._mlp(width, 64) for _ in range(2))
        self.output = nn.Linear(width, classes)

    @staticmethod
    def _mlp(width: int, hidden: int) -> nn.Module:
        return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedding(x).flatten(2).transpose(1, 2)
        for block in range(2):
            x = x + self.tokens[block](self.norms[2 * block](x).transpose(1, 2)).transpose(1, 2)
            x = x + self.channels[block](self.norms[2 * block + 1](x))
        return self.output(self.norms[4](x).mean(1))


class ConvNeXt(nn.Module):
    """A block of ConvNeXt (Liu et al., 2022, arXiv:2201.03545) on patches."""

    def __init__(self, input_shape: Shape, classes: int, *, width: int = 48) -> None:
        super().__init__()
        self.stem = nn.Conv2d(input_shape[0], width, 4, stride=4)
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.scale = nn.Parameter(1e-2 * torch.ones(width))
        self.last_norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.scale * self.narrow(functional.gelu(self.widen(y)))
        x = x + y.permute(0, 3, 1, 2)
        return self.head(self.last_norm(x.mean((-2, -1))))


class ColumnsFirst(nn.Module):
    """A plain convolutional network as tutorials write it: pooling, dropout, a view, log-softmax left out."""

    def __init__(self, input_shape: Shape, classes: int) -> None:
        super().__init__()
        channels, height, width = input_shape
        self.conv1 = nn.Conv2d(channels, 32, 3, 1)
        self.conv2 = nn.Conv2d(32, 64, 3, 1)
        self.dropout = nn.Dropout(0.25)
        self.fc1 = nn.Linear(64 * ((height - 4) // 2) * ((width - 4) // 2), 64)
        self.fc2 = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.conv2(functional.relu(self.conv1(x))))
        x = self.dropout(functional.max_pool2d(x, 2))
        x = x.view(x.size(0), -1)
        return self.fc2(functional.relu(self.fc1(x)))


def group_norm(channels: int) -> nn.Module:
    """Groups of at most 4."""
    return nn.GroupNorm(min(4, channels // 2), channels)


def _lenet(**options: object) -> ZooNetwork:
    return ZooNetwork(functools.partial(LeNet, **options), DIGIT)  # type: ignore[arg-type]


def _picture(make: Callable[..., nn.Module], **options: object) -> ZooNetwork:
    return ZooNetwork(functools.partial(make, **options), PICTURE)


NETWORKS = {
    "lenet5": _lenet(),
    "lenet5-average": _lenet(shrink="average"),
    "lenet5-stride": _lenet(shrink="stride"),
    "lenet5-batchnorm": _lenet(norm=nn.BatchNorm2d),
    "lenet5-groupnorm": _lenet(norm=lambda n: nn.GroupNorm(2, n)),
    "tutorial-cnn": ZooNetwork(ColumnsFirst, DIGIT),
    "resnet8": _picture(ResNet, n=1),
    "resnet8-groupnorm": _picture(ResNet, n=1, norm=group_norm),
    "resnet20": _picture(ResNet, n=3),
    "separable-relu6": _picture(SmallMobileNet, activation=nn.ReLU6),
    "separable-silu": _picture(SmallMobileNet, activation=nn.SiLU),
    "separable-groupnorm": _picture(SmallMobileNet, activation=nn.ReLU, norm=group_norm),
    "squeeze-excitation": _picture(SqueezeExcitation),
    "vit-block": _picture(VisionTransformer),
    "mlp-mixer": _picture(Mixer),
    "convnext-block": _picture(ConvNeXt),
}
