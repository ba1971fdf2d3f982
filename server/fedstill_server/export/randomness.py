"""Randomness of a student in training, as numbers that come in from outside.

Every function that drops, or draws otherwise, becomes plain arithmetic on uniform numbers of [0, 1). They
become inputs `uniform.<i>` of the graph, in the order in which the network asks for them. Who fills them
decides what is dropped: a device does so from a key of its own, the same in any stack and after a restart.
Other randomness has no translation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx.graph_module import GraphModule
from torch.nn import functional

from fedstill_server.export.errors import ExportError
from fedstill_server.export.ports import Port
from fedstill_server.export.substitutes import Substitutes

UNIFORM = "uniform."
_ALPHA = 1.7580993408473766  # of the self-normalizing activation (Klambauer et al., 2017, arXiv:1706.02515)


def _empty(number: int, shape: Sequence[int]) -> Tensor:
    return torch.empty(shape)


torch.library.define("fedstill::uniform", "(int number, int[] shape) -> Tensor")
torch.library.register_fake("fedstill::uniform", _empty)


class Randomness:
    """What stands for torch's random functions during one pass of a student."""

    def __init__(self) -> None:
        self._asked = 0

    @property
    def substitutes(self) -> Substitutes:
        """The functions by the attributes of torch that they stand for."""

        def filled(x: Tensor, p: float | Tensor = 0.5, *, generator: object = None) -> Tensor:
            return x.copy_(self._ones(p, x.shape))

        def uniform(x: Tensor, low: float = 0.0, high: float = 1.0, *, generator: object = None) -> Tensor:
            return x.copy_(low + (high - low) * self._uniform(x.shape))

        found: dict[tuple[Any, str], Callable[..., Any]] = {
            (functional, "dropout"): self._dropout,
            (functional, "alpha_dropout"): self._alpha_dropout,
            (functional, "feature_alpha_dropout"): self._feature_alpha_dropout,
            (torch, "dropout"): lambda x, p, train: self._dropout(x, p, train),
            (torch, "bernoulli"): self._bernoulli,
            (torch, "rand"): self._rand,
            (torch, "rand_like"): lambda x, **options: self._rand(*x.shape, **options),
            (torch.Tensor, "bernoulli_"): filled,
            (torch.Tensor, "uniform_"): uniform,
        }
        for rank in (1, 2, 3):
            found[functional, f"dropout{rank}d"] = self._dropout_of_channels(rank)
        return found

    def _uniform(self, shape: Sequence[int]) -> Tensor:
        self._asked += 1
        number: Tensor = torch.ops.fedstill.uniform(self._asked - 1, list(shape))
        return number

    def _ones(self, p: float | Tensor, shape: Sequence[int]) -> Tensor:
        """1 with probability p, else 0."""
        return torch.lt(self._uniform(shape), p).to(torch.float32)

    def _kept(self, p: float, shape: Sequence[int]) -> Tensor:
        """0 with probability p, else 1."""
        return torch.ge(self._uniform(shape), p).to(torch.float32)

    def _dropped(self, x: Tensor, p: float, shape: Sequence[int]) -> Tensor:
        scale = 0.0 if p >= 1 else 1 / (1 - p)
        return x * (self._kept(p, shape) * scale)

    def _dropout(self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or p == 0:
            return input
        return _written(input, self._dropped(input, p, input.shape), inplace)

    def _dropout_of_channels(self, rank: int) -> Callable[..., Tensor]:
        def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
            if not training or p == 0:
                return input
            shape = _of_channels(input, is_batch=input.dim() != rank + 1 or rank == 2)
            return _written(input, self._dropped(input, p, shape), inplace)

        return dropout

    def _alpha_dropout(
        self, input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
    ) -> Tensor:
        return _written(input, self._alpha(input, p, training, input.shape), inplace)

    def _feature_alpha_dropout(
        self, input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
    ) -> Tensor:
        shape = _of_channels(input, is_batch=True)
        return _written(input, self._alpha(input, p, training, shape), inplace)

    def _alpha(self, x: Tensor, p: float, training: bool, shape: Sequence[int]) -> Tensor:
        """What is dropped becomes -alpha, and mean and variance stay."""
        if not training or p == 0:
            return x
        if p >= 1:
            return x * 0.0
        scale = 1 / math.sqrt((_ALPHA**2 * p + 1) * (1 - p))
        kept = self._kept(p, shape)
        return x * (kept * scale) + ((kept - 1) * (_ALPHA * scale) + _ALPHA * scale * p)

    def _bernoulli(self, input: Tensor, p: float | None = None, *, generator: object = None) -> Tensor:
        return self._ones(input if p is None else p, input.shape)

    def _rand(self, *size: Any, **options: Any) -> Tensor:
        kind = options.get("dtype")
        if kind not in (None, torch.float32):
            raise ExportError(f"torch.rand of {kind}: students draw float32; leave dtype out")
        shape = size[0] if size and not isinstance(size[0], int) else size
        return self._uniform(options.get("size", shape))


def _written(x: Tensor, result: Tensor, inplace: bool) -> Tensor:
    return x.copy_(result) if inplace else result


def _of_channels(x: Tensor, *, is_batch: bool) -> tuple[int, ...]:
    """The shape of one number for each channel of [rows, channels, ...], or of [channels, ...]."""
    named = 2 if is_batch else 1
    return (*x.shape[:named], *(1 for _ in x.shape[named:]))


def uniform_ports(module: GraphModule) -> list[Port]:
    """Makes inputs of the uniform numbers that a captured graph asks for; returns them, in their order."""
    graph, ports = module.graph, []
    last = list(graph.find_nodes(op="placeholder"))[-1]
    asked = graph.find_nodes(op="call_function", target=torch.ops.fedstill.uniform.default)
    for node in sorted(asked, key=lambda node: int(node.args[0])):
        number, shape = node.args
        with graph.inserting_after(last):
            last = graph.placeholder(f"uniform_{number}")
        last.meta = dict(node.meta)
        node.replace_all_uses_with(last)
        graph.erase_node(node)
        ports.append(Port(f"{UNIFORM}{number}", tuple(shape)))
    module.recompile()
    return ports
