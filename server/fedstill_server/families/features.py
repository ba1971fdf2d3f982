"""What a classifier makes of an example before its last layer: its features; and what normalizes them.

Every family that classifies arrays ends in a linear layer named `output`; what that reads are the features.
Their width differs from family to family.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from fedstill_server.families.classifiers import GroupNormalization
from fedstill_server.families.errors import FamilyError
from fedstill_server.families.state import student_state

_NORMALIZATION = (
    GroupNormalization,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
    nn.modules.batchnorm._NormBase,
)


def last_layer(student: nn.Module) -> nn.Linear:
    """The layer that turns features into logits."""
    layer = getattr(student, "output", None)
    if not isinstance(layer, nn.Linear):
        raise FamilyError(f"{type(student).__name__} does not end in a linear layer `output`: no features")
    return layer


def normalization_parameters(student: nn.Module) -> tuple[str, ...]:
    """The names of what its normalization layers learn, and of their running statistics."""
    layers = {place for place, layer in student.named_modules() if isinstance(layer, _NORMALIZATION)}
    return tuple(name for name in student_state(student).tensors if name.rpartition(".")[0] in layers)


def feature_width(student: nn.Module) -> int:
    """How many features an example has."""
    return last_layer(student).in_features


def with_features(student: nn.Module, answer: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
    """(logits, features) of what `answer` has the student compute."""
    read: list[Tensor] = []
    hook = last_layer(student).register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    try:
        logits = answer()
    finally:
        hook.remove()
    return logits, read[0]
