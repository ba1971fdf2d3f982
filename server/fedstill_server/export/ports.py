"""A captured graph of one device: what it computes, its inputs and the names of its outputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.fx.graph_module import GraphModule


@dataclass(frozen=True, eq=False)
class Port:
    """An input of a captured graph: one device's share, and whether every device has its own."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    per_device: bool = True
    is_state: bool = False  # a parameter, or an optimizer slot of one
    constant: torch.Tensor | None = None  # what it always is; the graph holds it, and it is no input there


@dataclass(frozen=True)
class CapturedGraph:
    """A graph of one device: its module, inputs, and the names of its outputs."""

    module: GraphModule
    inputs: tuple[Port, ...]
    outputs: tuple[str, ...]
