"""What of a student a device changes: the parameters that train, and the buffers that training moves."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

BatchNormalization = nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True)
class StudentState:
    """The tensors of a student that are its own, by name.

    Attributes:
        trainable: The parameters that learn by their gradients.
        buffers: The running means and variances of batch normalization, which move as examples pass.
    """

    trainable: dict[str, Tensor]
    buffers: dict[str, Tensor]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Both, the parameters first."""
        return self.trainable | self.buffers


def student_state(student: nn.Module) -> StudentState:
    """What of a student is its own; everything else is the same on all devices of its family."""
    trainable: dict[str, Tensor] = {
        name: value for name, value in student.named_parameters() if value.requires_grad
    }
    buffers = {
        f"{place}.{name}" if place else name: value
        for place, layer in student.named_modules()
        if moves(layer)
        for name, value in layer.named_buffers(recurse=False)
        if name in ("running_mean", "running_var")
    }
    return StudentState(trainable, buffers)


def frozen_tensors(student: nn.Module) -> dict[str, Tensor]:
    """The weights and buffers in real numbers that no device changes, by name."""
    own = student_state(student).tensors
    named = dict(student.named_parameters()) | dict(student.named_buffers())
    return {name: value for name, value in named.items() if name not in own and value.is_floating_point()}


def moves(layer: nn.Module) -> bool:
    """Whether a layer keeps running statistics that training moves; those of a frozen one stay."""
    return isinstance(layer, BatchNormalization) and layer.track_running_stats and not _is_frozen(layer)


def train_mode(network: nn.Module) -> None:
    """Let a network train: as network.train(), but frozen layers of normalization go on answering with their
    running statistics.
    """
    network.train()
    for layer in network.modules():
        if isinstance(layer, BatchNormalization) and layer.track_running_stats and _is_frozen(layer):
            layer.eval()


def answer_for_one_row(network: nn.Module) -> None:
    """Let batch normalization take a single row, of which torch makes no statistics, as it answers."""
    for layer in network.modules():
        if isinstance(layer, BatchNormalization) and layer.track_running_stats:
            layer.eval()


def put_frozen(student: nn.Module, like: nn.Module) -> None:
    """Give a student the frozen tensors of another of its family."""
    source = frozen_tensors(like)
    with torch.no_grad():
        for name, value in frozen_tensors(student).items():
            value.copy_(source[name])


def _is_frozen(layer: nn.Module) -> bool:
    own = list(layer.parameters(recurse=False))
    return bool(own) and not any(value.requires_grad for value in own)
