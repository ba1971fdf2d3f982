"""A student in plain torch whose randomness is given: the independent side of `randomness`.

What would draw numbers takes the given ones, and drops by torch.where what torch would drop by a product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fedstill_server.export.substitutes import Substitutes

_CHANNELS = {"dropout1d": 1, "dropout2d": 2, "dropout3d": 3}
_LAYERS = {name: getattr(torch._VF, name) for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")}
_attention = functional.scaled_dot_product_attention


class GivenNumbers:
    """Random functions that take these uniform numbers, by the place of their call.

    A batch with fewer rows takes the numbers of the first ones.
    """

    def __init__(self, numbers: Mapping[int, np.ndarray]) -> None:
        self._numbers, self._asked = numbers, 0

    @property
    def substitutes(self) -> Substitutes:
        """The functions by the attributes of torch that they stand for."""

        def filled(x: Tensor, p: float | Tensor = 0.5, **unused: object) -> Tensor:
            return x.copy_(torch.where(self._next(x.shape) < p, 1.0, 0.0))

        def uniform(x: Tensor, low: float = 0.0, high: float = 1.0, **unused: object) -> Tensor:
            return x.copy_(low + (high - low) * self._next(x.shape))

        def ones(x: Tensor, p: float | None = None, **unused: object) -> Tensor:
            return torch.where(self._next(x.shape) < (x if p is None else p), 1.0, 0.0).to(x.dtype)

        def drawn(*size: Any, **options: Any) -> Tensor:
            size = options.get("size", size)
            return self._next(size if not size or isinstance(size[0], int) else size[0])

        found: dict[tuple[Any, str], Callable[..., Any]] = {
            (functional, "dropout"): self._dropout,
            (torch, "dropout"): self._dropout,
            (functional, "alpha_dropout"): self._alpha,
            (functional, "feature_alpha_dropout"): self._alpha_of_features,
            (functional, "scaled_dot_product_attention"): self._attention,
            (torch, "bernoulli"): ones,
            (torch, "rand"): drawn,
            (torch, "rand_like"): lambda x, **unused: self._next(x.shape),
            (torch.Tensor, "bernoulli_"): filled,
            (torch.Tensor, "uniform_"): uniform,
        }
        for name, rank in _CHANNELS.items():
            found[functional, name] = self._of_channels(rank)
        for name, layer in _LAYERS.items():
            found[torch._VF, name] = self._layers(layer)
        return found

    def _next(self, shape: Sequence[int]) -> Tensor:
        numbers = self._numbers.get(self._asked)
        self._asked += 1
        if numbers is None:  # the graph has no use for them
            return torch.zeros(tuple(shape))
        return torch.from_numpy(numbers)[tuple(slice(size) for size in shape)]

    def _without(self, x: Tensor, p: float, shape: Sequence[int], *, into: bool) -> Tensor:
        result = torch.where(self._next(shape) < p, 0.0, x / max(1 - p, 1e-12))
        return x.copy_(result) if into else result

    def _dropout(self, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        return self._without(x, p, x.shape, into=inplace) if training and p else x

    def _of_channels(self, rank: int) -> Callable[..., Tensor]:
        def dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
            named = 1 if rank != 2 and x.dim() == rank + 1 else 2
            shape = tuple(x.shape[:named]) + (1,) * (x.dim() - named)
            return self._without(x, p, shape, into=inplace) if training and p else x

        return dropout

    def _alpha_of_features(
        self, x: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
    ) -> Tensor:
        return self._alpha(x, p, training, inplace, tuple(x.shape[:2]) + (1,) * (x.dim() - 2))

    def _alpha(
        self,
        x: Tensor,
        p: float = 0.5,
        training: bool = False,
        inplace: bool = False,
        shape: Sequence[int] | None = None,
    ) -> Tensor:
        if not training or p == 0:
            return x
        low = -1.0507009873554805 * 1.6732632423543772
        mean, variance = p * low, low * low * p * (1 - p) + (1 - p)
        dropped = self._next(x.shape if shape is None else shape) < p
        result = (torch.where(dropped, low, x) - mean) / math.sqrt(variance)
        return x.copy_(result) if inplace else result

    def _attention(self, query: Tensor, key: Tensor, value: Tensor, *more: Any, **options: Any) -> Tensor:
        named = dict(zip(("attn_mask", "dropout_p", "is_causal", "scale"), more, strict=False)) | options
        p = named.pop("dropout_p", 0.0)
        if not p:
            return _attention(query, key, value, **named)
        # With each place's unit vector as its value, attention answers with its shares.
        places = torch.eye(key.shape[-2], dtype=query.dtype).expand(*key.shape[:-1], key.shape[-2])
        shares = self._dropout(_attention(query, key, places, **named), p)
        if named.get("enable_gqa"):
            value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
        return shares @ value

    def _layers(self, layer: Callable[..., Any]) -> Callable[..., Any]:
        """A stack of recurrent layers, layer by layer, with what is dropped between them."""

        def run(*arguments: Any) -> Any:
            x, states, parameters, has_biases, layers, p, training, both_ways, rows_first = arguments
            each, ways = len(parameters) // layers, 1 + both_ways
            ends = []
            for number in range(layers):
                x = self._dropout(x, p, training) if number else x
                here = slice(number * ways, (number + 1) * ways)
                own = states[here] if isinstance(states, Tensor) else tuple(state[here] for state in states)
                weights = list(parameters[number * each : (number + 1) * each])
                x, *end = layer(x, own, weights, has_biases, 1, 0.0, training, both_ways, rows_first)
                ends.append(end)
            return x, *(torch.cat(parts) for parts in zip(*ends, strict=True))

        return run
