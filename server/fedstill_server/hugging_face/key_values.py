"""A causal model of Hugging Face one sub-word at a time: what its attention keeps, as inputs and outputs.

The keys and values of all places stand in two arrays of one size, into which a step puts those of its own
place: a graph of a step reads arrays of the same shapes for ever. A place sees itself and those before it.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

HIDDEN = -1e9  # added to the score of what a place may not see
_WINDOWS = ("sliding_window", "attention_chunk_size")


class PlacedCache:
    """Keys and values [layers, heads, S, width] of the places before, and of the one that is `here` [S].

    It does what models ask of transformers' own cache, whose base class would take seconds to import.
    """

    is_compileable = False

    def __init__(self, keys: Tensor, values: Tensor, here: Tensor) -> None:
        self.kept = [list(keys.unbind()), list(values.unbind())]  # [heads, S, width] of each layer
        self.here = here.unsqueeze(-1)  # [S, 1]

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """The keys and values [1, heads, S, width] of a layer, those of this place among them."""
        for kept, new in zip(self.kept, (key_states, value_states), strict=True):
            kept[layer_idx] = torch.where(self.here, new[0], kept[layer_idx])
        keys, values = (kept[layer_idx].unsqueeze(0) for kept in self.kept)
        return keys, values

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0  # places are given as numbers

    def after(self) -> tuple[Tensor, Tensor]:
        """All keys and values, with those of this place."""
        keys, values = map(torch.stack, self.kept)
        return keys, values


def can_step(model: nn.Module) -> bool:
    """Whether a model takes one place at a time: its places by number, and no window that forgets."""
    config: Any = model.config
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    has_window = any(isinstance(getattr(config, name, None), int) for name in _WINDOWS)
    if getattr(config, "use_sliding_window", None) is False:
        has_window = False
    return bool(
        {"position_ids"} <= _parameters(model).keys()
        and cache_name(model)
        and not (kinds or has_window)
        and _kept_shape(model) is not None
    )


def start_state(model: nn.Module, places: int) -> dict[str, Tensor]:
    """No keys and values, and the first place."""
    shape = _kept_shape(model)
    assert shape is not None
    layers, heads, width = shape
    seen = torch.zeros(layers, heads, places, width)
    return {
        "keys": seen,
        "values": seen.clone(),
        "next_place": torch.zeros(1, dtype=torch.int64),
    }


def step(model: nn.Module, word: Tensor, keys: Tensor, values: Tensor, place: Tensor) -> tuple[Tensor, ...]:
    """Logits [1, V] and the state after a sub-word [1]."""
    numbers = torch.arange(keys.shape[2])
    hidden = numbers > place
    cache = PlacedCache(keys, values, numbers == place)
    answer: Any = model(
        input_ids=word.unsqueeze(0),
        position_ids=place.unsqueeze(0),
        attention_mask=(hidden.to(keys.dtype) * HIDDEN)[None, None, None],
        use_cache=True,
        **{cache_name(model): cache},
    )
    return (answer.logits[:, -1], *cache.after(), place + 1)


def _parameters(model: nn.Module) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(model.forward).parameters


def cache_name(model: nn.Module) -> str:
    """What the installed transformers call the argument."""
    return next((name for name in ("cache", "past_key_values") if name in _parameters(model)), "")


def _kept_shape(model: nn.Module) -> tuple[int, int, int] | None:
    """Layers, heads of keys, and their width; None where layers differ, or keep something else."""
    from transformers.cache_utils import DynamicCache

    cache = DynamicCache()
    with torch.no_grad():
        model(input_ids=torch.zeros(1, 1, dtype=torch.int64), use_cache=True, **{cache_name(model): cache})
    shapes = {
        tuple(kept.shape)
        for layer in cache.layers
        for kept in (getattr(layer, "keys", None), getattr(layer, "values", None))
        if isinstance(kept, Tensor)
    }
    if len(shapes) != 1:
        return None
    (shape,) = shapes
    return (len(cache.layers), shape[1], shape[3]) if len(shape) == 4 else None
