"""Perceptrons on rows of numbers: every activation and normalization, and residual networks of tables."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.zoo_networks.network import FEATURES, Shape, ZooNetwork


class Perceptron(nn.Module):
    """One hidden layer between which anything may stand."""

    def __init__(self, input_shape: Shape, classes: int, middle: nn.Module, width: int = 32) -> None:
        super().__init__()
        self.hidden = nn.Linear(math.prod(input_shape), width)
        self.middle = middle
        self.output = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.middle(self.hidden(x.flatten(1))))


class TabularResNet(nn.Module):
    """ResNet of tables (Gorishniy et al., 2021, arXiv:2106.11959)."""

    def __init__(self, input_shape: Shape, classes: int, width: int = 64, blocks: int = 2) -> None:
        super().__init__()
        self.first = nn.Linear(math.prod(input_shape), width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm1d(width),
                nn.Linear(width, 2 * width),
                nn.ReLU(),
                nn.Dropout(0.1),
                nn.Linear(2 * width, width),
                nn.Dropout(0.1),
            )
            for _ in range(blocks)
        )
        self.head = nn.Sequential(nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, classes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


class FeatureTokens(nn.Module):
    """FT-Transformer of tables (Gorishniy et al., 2021, arXiv:2106.11959): each column a token."""

    def __init__(self, input_shape: Shape, classes: int, width: int = 16) -> None:
        super().__init__()
        columns = input_shape[0]
        self.weight = nn.Parameter(torch.randn(columns, width) * 0.1)
        self.bias = nn.Parameter(torch.zeros(columns, width))
        self.answer = nn.Parameter(torch.zeros(1, 1, width))
        layer = nn.TransformerEncoderLayer(
            width, 2, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.output = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.unsqueeze(-1) * self.weight + self.bias
        tokens = torch.cat([self.answer.expand(len(x), -1, -1), tokens], 1)
        return self.output(self.encoder(tokens)[:, 0])


def _with(middle: Callable[[], nn.Module]) -> ZooNetwork:
    return ZooNetwork(lambda shape, classes: Perceptron(shape, classes, middle()), FEATURES)


def _normalized(norm: Callable[[], nn.Module]) -> ZooNetwork:
    return _with(lambda: nn.Sequential(norm(), nn.ReLU()))


NETWORKS = {
    "mlp-leaky-relu": _with(nn.LeakyReLU),
    "mlp-prelu": _with(nn.PReLU),
    "mlp-gelu": _with(nn.GELU),
    "mlp-gelu-tanh": _with(lambda: nn.GELU(approximate="tanh")),
    "mlp-silu": _with(nn.SiLU),
    "mlp-relu6": _with(nn.ReLU6),
    "mlp-elu": _with(nn.ELU),
    "mlp-selu": _with(nn.SELU),
    "mlp-hardswish": _with(nn.Hardswish),
    "mlp-hardsigmoid": _with(nn.Hardsigmoid),
    "mlp-mish": _with(nn.Mish),
    "mlp-tanh": _with(nn.Tanh),
    "mlp-softplus": _with(nn.Softplus),
    "mlp-softsign": _with(nn.Softsign),
    "mlp-dropout": _with(lambda: nn.Sequential(nn.ReLU(), nn.Dropout(0.3))),
    "mlp-layernorm": _normalized(lambda: nn.LayerNorm(32)),
    "mlp-rmsnorm": _normalized(lambda: nn.RMSNorm(32)),
    "mlp-batchnorm": _normalized(lambda: nn.BatchNorm1d(32)),
    "mlp-groupnorm": _normalized(lambda: nn.GroupNorm(4, 32)),
    "tabular-resnet": ZooNetwork(TabularResNet, FEATURES),
    "ft-transformer": ZooNetwork(FeatureTokens, (20,)),
}
