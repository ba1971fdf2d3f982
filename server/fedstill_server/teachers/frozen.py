"""Teachers that teach as they are: whatever answers examples, as a torch module without parameters."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from fedstill_server.families.family import Shape
from fedstill_server.plugins import PluginError
from fedstill_server.teachers.errors import TeacherError
from fedstill_server.teachers.registry import (
    black_box,
    network_named,
    teacher_stands_for,
)


class BlackBox(nn.Module):
    """What answers arrays with logits [n, classes], in torch's terms; no gradient goes through it."""

    def __init__(self, teacher: Any, classes: int) -> None:
        super().__init__()
        self._teacher, self._classes = teacher, classes

    def forward(self, x: Tensor) -> Tensor:
        logits = torch.from_numpy(self._teacher.answer(x.detach().cpu().numpy()).logits)
        if logits.shape != (len(x), self._classes):
            raise TeacherError(
                f"{self._teacher.name}: to {len(x)} examples it answers {list(logits.shape)}; its logits "
                f"should be {[len(x), self._classes]}"
            )
        return logits


def frozen_teacher(name: str, input_shape: Shape, classes: int, *, digest: str) -> nn.Module:
    """The teacher of this name as it is.

    Args:
        name: An ONNX file's path, a family's name, or a teacher's.
        input_shape: The shape of one example.
        classes: How many there are.
        digest: That of its weights, file or answers when the run was started, or "".

    Raises:
        FedstillError: There is no such teacher, it does not answer as one, or has changed since.
    """
    return _made(name, input_shape, classes, digest, teacher_stands_for(name))


@lru_cache(maxsize=2)  # a round asks several times, and a large one takes seconds to open
def _made(name: str, input_shape: Shape, classes: int, digest: str, stands_for: object) -> nn.Module:
    teacher = black_box(name, input_shape, classes)
    if teacher is None:
        return network_named(name, input_shape, classes, digest=digest).eval().requires_grad_(False)
    if digest and teacher.digest != digest:
        raise PluginError(f"teacher: {name}: it does not answer as when the run was started")
    network = BlackBox(teacher, classes)
    network(torch.zeros(2, *input_shape))
    return network
