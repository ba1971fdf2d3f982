"""A digest of what the students of an own family compute.

Cached graphs are found by the family's name and the sources of fedstill; an own network may change under the
same name, and call any code. So the operators that it comes to are recorded.
"""

from __future__ import annotations

import functools
import hashlib

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx

from fedstill_server.export.recurrent import layers
from fedstill_server.export.substitutes import substituted
from fedstill_server.families import FAMILIES, build_student
from fedstill_server.families.state import frozen_tensors, student_state
from fedstill_server.plugins import called

_ROWS = 2


def structure_of(family: str, input_shape: tuple[int, ...], *classes: int) -> str | None:
    """The digest of students for so many classes each; None for a family that fedstill itself brings."""
    if not FAMILIES.is_own(family):
        return None
    x = torch.zeros(_ROWS, *input_shape, dtype=getattr(torch, FAMILIES.form_of(family).input_type))
    digest = hashlib.sha256()
    for each in classes:
        student = build_student(family, input_shape, each)
        for part in called(family, functools.partial(_parts, student, x)):
            digest.update(part)
    return digest.hexdigest()


def _parts(student: nn.Module, x: Tensor) -> list[bytes]:
    """Names, shapes and operators, in training and in answering, and the tensors that no device changes."""
    own = student_state(student)
    parts = [repr([(name, tuple(value.shape)) for name, value in own.trainable.items()]).encode()]
    parts += [repr(sorted(own.buffers)).encode()] if own.buffers else []
    tensors = dict(student.named_buffers()) | frozen_tensors(student)
    for is_training in (True, False):
        student.train(is_training)
        # Recurrent layers are one operator each, however many places they have.
        with torch.no_grad(), substituted(layers()):
            traced = make_fx(lambda values: functional_call(student, values, (x,)))(own.tensors)
        parts.append(traced.code.encode())
        tensors |= {f"{is_training} {name}": value for name, value in traced.named_buffers()}
    for name, value in tensors.items():
        parts.append(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        parts.append(value.detach().contiguous().numpy().tobytes())
    return parts
