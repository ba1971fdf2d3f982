"""Makes the answers of a target of the numbers that a network gives, whatever the network.

A network is built for as many numbers as the target needs. A hook then makes (-z/2, z/2) of the z of each
label, and (mean, log variance) of the two numbers of a Gaussian, which has bounds so that no variance becomes
0; the names of the parameters stay the network's own.
"""

from __future__ import annotations

import torch
from fedstill_proto.package.target import LARGEST_LOG_VARIANCE, Target
from torch import Tensor, nn


def with_head(network: nn.Module, target: Target) -> nn.Module:
    """The network, which answers [batch, *label_shape, 2] from now on unless the target is one class."""
    if not target.is_single:
        network.register_forward_hook(_gaussians if target.is_regression else _labels)
    return network


def _labels(_: nn.Module, inputs: tuple[Tensor, ...], answers: Tensor) -> Tensor:
    return answers.unsqueeze(-1) * torch.tensor([-0.5, 0.5], device=answers.device)  # [batch, K, 2]


def _gaussians(_: nn.Module, inputs: tuple[Tensor, ...], answers: Tensor) -> Tensor:
    rows, outputs = answers.shape
    pairs = answers.reshape(rows, 2, outputs // 2).transpose(1, 2)  # [batch, D, 2]: mean, spread
    bounded = torch.tanh(pairs / LARGEST_LOG_VARIANCE) * LARGEST_LOG_VARIANCE
    first, second = (torch.tensor(each, device=answers.device) for each in ([1.0, 0.0], [0.0, 1.0]))
    return pairs * first + bounded * second
