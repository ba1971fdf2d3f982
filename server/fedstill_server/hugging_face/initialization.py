"""A student's first weights: those of a teacher's layers, as DistilBERT began (Sanh et al. 2019, 1910.01108).

Of n layers of a teacher m are chosen: spread evenly, so that of 6 layers 3 are the second, the fourth and the
sixth; from end to end, which are the first, the fourth and the sixth, and of 12 layers the 6 that DistilBERT
took; or the first m. What stands outside the layers is taken as it is where the shapes agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fedstill_server.hugging_face.errors import HubModelError
from fedstill_server.hugging_face.parts import parts_of
from fedstill_server.hugging_face.reference import ENDS, EVENLY, FIRST


def chosen_layers(teacher: int, student: int, *, choice: str = EVENLY) -> tuple[int, ...]:
    """Which of a teacher's layers a student's begin as, from 0; of more layers than it has, all and the last.

    Args:
        teacher: The teacher's number of layers.
        student: The student's.
        choice: "evenly", "ends" or "first".
    """
    if choice == ENDS and 1 < student < teacher:
        # Halves are rounded up.
        return tuple(
            (2 * place * (teacher - 1) + student - 1) // (2 * (student - 1)) for place in range(student)
        )
    if student >= teacher or choice == FIRST:
        return tuple(min(place, teacher - 1) for place in range(student))
    return tuple(-(-teacher * (place + 1) // student) - 1 for place in range(student))


def begin_as(student: nn.Module, teacher: nn.Module, *, choice: str = EVENLY) -> nn.Module:
    """Give a student the weights of a teacher of the same architecture; it is returned.

    Raises:
        HubModelError: They are of different widths, so that no weight would fit.
    """
    mine, theirs = (_outline(network) for network in (student, teacher))
    if mine.width != theirs.width or mine.heads != theirs.heads:
        raise HubModelError(
            f"a student of width {mine.width} and {mine.heads} heads cannot begin as one of width "
            f"{theirs.width} and {theirs.heads}; say weights=none, and it begins anew"
        )
    chosen = chosen_layers(len(theirs.layers), len(mine.layers), choice=choice)
    names = _names(mine.layers, [theirs.layers[place] for place in chosen])
    source = teacher.state_dict()
    with torch.no_grad():
        for name, value in student.state_dict().items():
            given = source.get(_renamed(name, names))
            if isinstance(given, Tensor) and given.shape == value.shape:
                value.copy_(given)
    return student


def _outline(network: Any) -> Any:
    return parts_of(network, network.config)


def _names(student: Sequence[str], teacher: Sequence[str]) -> dict[str, str]:
    return dict(zip(student, teacher, strict=True))


def _renamed(name: str, layers: dict[str, str]) -> str:
    for mine, theirs in layers.items():
        if name.startswith(f"{mine}."):
            return theirs + name[len(mine) :]
    return name
