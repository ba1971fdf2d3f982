"""Students by family name, or any torch module by import path."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.teachers.opening import imported
from fedstill_server.families import build_student


def new_student(family: str, input_shape: Sequence[int], classes: int, *, seed: int) -> nn.Module:
    """Freshly initialized; `family` is a student family or an import path such as my.models:small_network."""
    if ":" not in family:
        return build_student(family, input_shape, classes, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = imported(family)
    if not isinstance(network, nn.Module):
        raise DistillError(f"family: {family} is a {type(network).__name__}, not a torch module")
    return network


def family_name(family: str) -> str:
    """The name under which a student is packed."""
    return family.replace(":", ".")
