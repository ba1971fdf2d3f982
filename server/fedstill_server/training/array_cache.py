"""Arrays that are made once and cached in a file, which is checked when it is read again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors
import safetensors.numpy
from fedstill_proto.arrays import Parameters
from fedstill_proto.errors import FedstillError
from torch import nn

from fedstill_server.families.state import student_state

ErrorOf = Callable[[str], FedstillError]
"""Makes the reader's own error of what is wrong."""


def load_cached(path: Path, *, error: ErrorOf) -> dict[str, Any]:
    """The arrays of a safetensors file."""
    try:
        return safetensors.numpy.load(path.read_bytes())
    except (OSError, safetensors.SafetensorError) as problem:
        raise error(f"{path}: cannot be read ({problem}); delete the file to make it anew") from None


def load_cached_parameters(path: Path, network: nn.Module, *, name: str, error: ErrorOf) -> Parameters:
    """The cached parameters of a network called `name`, in its own order."""
    cached = load_cached(path, error=error)
    shapes = {parameter: tuple(value.shape) for parameter, value in student_state(network).tensors.items()}
    if {parameter: array.shape for parameter, array in cached.items()} != shapes:
        raise error(f"{path}: not the parameters of {name}; delete the file to make it anew")
    return {parameter: cached[parameter] for parameter in shapes}
