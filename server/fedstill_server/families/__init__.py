"""The student families: small networks that fit a device, as plain torch modules.

A family is a function from the shape of one example and the number of classes to a module whose `forward`
takes `x: [batch, *input_shape]` and returns logits `[batch, classes]`; one of text (language.py) takes the
numbers of words `x: int64 [batch, S]` and returns logits `[batch, S, classes]`, of the word after each. Those
of utterances (ngrams.py) classify rows of numbers of hashed n-grams.
Besides the named families there are those whose names hold their widths (mlp-64-32 in sized.py, and of text
gru-80-224, ssm-64-128 and transformer-64-4-2 in language.py), and those of one's own (registry.py). Names are
looked up without torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fedstill_proto.package.target import SINGLE_LABEL, Target

from fedstill_server.families.errors import FamilyError
from fedstill_server.families.family import ARRAYS, TEXT, UTTERANCES, Family, Shape, build_own
from fedstill_server.families.registry import FAMILIES

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

__all__ = [
    "ARRAYS",
    "FAMILIES",
    "TEXT",
    "UTTERANCES",
    "Family",
    "FamilyError",
    "build_student",
    "initial_parameters",
]


def build_student(
    family: str, input_shape: Sequence[int], classes: int, *, seed: int = 0, target: Target = SINGLE_LABEL
) -> nn.Module:
    """A student of `family` with its default initialization; the same seed gives the same student.

    Args:
        family: A name that FAMILIES knows, or `module:name`.
        input_shape: Of one example.
        classes: How many there are, at least 2.
        seed: Of the first weights.
        target: What it says of an example.

    Returns:
        The module, whose answers to [batch, *input_shape] are logits [batch, *label_shape, classes].

    Raises:
        UnknownName: For a name that is not there.
        FamilyError: For a shape that the family has no student for.
        PluginError: For a family of one's own that makes no such network.
    """
    import torch

    from fedstill_server.families.heads import with_head

    found, shape = FAMILIES.load(family), tuple(input_shape)
    if not shape or min(shape) < 1:
        raise FamilyError(f"{family}: input shape {list(shape)} must hold positive sizes")
    if classes < 2:
        raise FamilyError(f"{family}: {classes} classes; a classifier needs at least 2")
    with torch.random.fork_rng(devices=[]):  # leave the caller's random state alone
        torch.manual_seed(seed)
        outputs = target.outputs(classes)
        if FAMILIES.is_own(family):
            network = _own(family, found, shape, outputs, seed=seed)
        else:
            network = found.build(shape, outputs)
    return with_head(network, target)


def _own(name: str, family: Family, shape: Shape, classes: int, *, seed: int) -> nn.Module:
    """A student of a family of one's own; what is frozen is that of seed 0 in all of them."""
    import torch

    from fedstill_server.families.adapting import freeze_unreached
    from fedstill_server.families.state import frozen_tensors, put_frozen

    x = torch.zeros(2, *shape, dtype=getattr(torch, family.form.input_type))
    student = build_own(name, family, shape, classes)
    freeze_unreached(name, student, x)
    if seed and frozen_tensors(student):
        torch.manual_seed(0)
        like = build_own(name, family, shape, classes)
        freeze_unreached(name, like, x)
        put_frozen(student, like)
    return student


def initial_parameters(
    family: str, input_shape: Sequence[int], classes: int, seed: int, *, target: Target = SINGLE_LABEL
) -> dict[str, np.ndarray]:
    """What is a fresh student's own by name, float32: its parameters in the module's order, then the buffers
    that training moves.
    """
    from fedstill_server.families.state import student_state

    student = build_student(family, input_shape, classes, seed=seed, target=target)
    return {name: value.detach().numpy().copy() for name, value in student_state(student).tensors.items()}
