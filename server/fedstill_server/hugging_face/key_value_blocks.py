"""Several sub-words of a causal model of Hugging Face at once, after keys and values of those before."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fedstill_server.hugging_face.key_values import HIDDEN, PlacedCache, cache_name


class PlacedBlockCache(PlacedCache):
    """Keys and values of the places before, and of several that `placed` [T, S] marks."""

    def __init__(self, keys: Tensor, values: Tensor, placed: Tensor) -> None:
        super().__init__(keys, values, placed.sum(0) > 0)
        self.placed = placed.t()  # [S, T]

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """The keys and values [1, heads, S, width] of a layer, those [1, heads, T, width] among them."""
        return super().update(self.placed @ key_states, self.placed @ value_states, layer_idx)


def block(model: nn.Module, words: Tensor, keys: Tensor, values: Tensor, place: Tensor) -> tuple[Tensor, ...]:
    """Logits [T, V] and the state after sub-words [T]."""
    numbers = torch.arange(keys.shape[2])
    at = place + torch.arange(words.shape[0])
    placed = (numbers == at.unsqueeze(1)).to(keys.dtype)  # [T, S]
    cache = PlacedBlockCache(keys, values, placed)
    answer: Any = model(
        input_ids=words.unsqueeze(0),
        position_ids=at.unsqueeze(0),
        attention_mask=((numbers > at.unsqueeze(1)).to(keys.dtype) * HIDDEN)[None, None],
        use_cache=True,
        **{cache_name(model): cache},
    )
    return (answer.logits[0], *cache.after(), place + words.shape[0])
