"""Networks of one's own that look up rows of a table by the numbers they read, such as those of words.

They need not say so: a number below 0 has no row, and torch's embedding refuses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import nn

from fedstill_server.families import FAMILIES, build_student


def tokens_known(family: str, input_shape: Sequence[int], classes: int) -> int:
    """How many numbers a family's students know, from 0; 0 where any real number will do."""
    if not FAMILIES.is_own(family) or not FAMILIES.form_of(family).amounts:
        return 0
    return _known(family, tuple(input_shape), classes, FAMILIES.stands_for(family))


@lru_cache(maxsize=64)
def _known(family: str, input_shape: tuple[int, ...], classes: int, stands_for: object) -> int:
    student = build_student(family, input_shape, classes).eval()
    sizes = {layer.num_embeddings for layer in student.modules() if isinstance(layer, nn.Embedding)}
    if not sizes or _takes(student, input_shape, -1):
        return 0
    return next((size for size in sorted(sizes, reverse=True) if _takes(student, input_shape, size - 1)), 1)


def _takes(student: nn.Module, input_shape: tuple[int, ...], number: int) -> bool:
    with torch.no_grad():
        try:
            student(torch.full((2, *input_shape), float(number)))
        except (IndexError, RuntimeError):
            return False
    return True
