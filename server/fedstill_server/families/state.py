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
        for place, layer in moving_layers(student)
        for name, value in layer.named_buffers(recurse=False)
        if name in ("running_mean", "running_var")
    }
    return StudentState(trainable, buffers)


def frozen_tensors(student: nn.Module) -> dict[str, Tensor]:
    """The weights and buffers in real numbers that no device changes, by name."""
    own = student_state(student).tensors
    named = dict(student.named_parameters()) | dict(student.named_buffers())
    return {name: value for name, value in named.items() if name not in own and value.is_floating_point()}


def moving_layers(student: nn.Module) -> list[tuple[str, nn.Module]]:
    """The layers of batch normalization whose running statistics training moves, and their places."""
    frozen = _frozen_layers(student)
    return [
        (place, layer)
        for place, layer in student.named_modules()
        if isinstance(layer, BatchNormalization) and layer.track_running_stats and layer not in frozen
    ]


def train_mode(network: nn.Module) -> None:
    """Let a network train: as network.train(), but parts whose parameters are all frozen go on answering.

    Such a part normalizes with its running statistics, and drops nothing out.
    """
    network.train()
    for layer in _frozen_layers(network):
        layer.training = False


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


def _frozen_layers(network: nn.Module) -> set[nn.Module]:
    """All layers of the parts that have parameters, of which none trains."""
    frozen: set[nn.Module] = set()
    for part in network.modules():
        values = list(part.parameters())
        if values and not any(value.requires_grad for value in values):
            frozen.update(part.modules())
    return frozen
