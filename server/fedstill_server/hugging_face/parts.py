"""The parts of a transformer by name: found in its module tree by what its configuration says.

No architecture is known by hand. The hidden layers are the list of modules that is as long as the
configuration has layers and whose members hold attention; an attention module is one whose linear layers are
named after queries, keys and values, or after all three at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from torch import nn

from fedstill_server.hugging_face.errors import HubModelError

_QUERY = re.compile(r"(^|_)(q|query|q_lin|q_proj|query_proj|wq)$")
_KEY = re.compile(r"(^|_)(k|key|k_lin|k_proj|key_proj|wk)$")
_VALUE = re.compile(r"(^|_)(v|value|v_lin|v_proj|value_proj|wv)$")
_ALL = re.compile(r"(^|_)(c_attn|qkv|qkv_proj|query_key_value|wqkv)$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class AttentionParts:
    """One attention module: where its matrices and its projections come from.

    Attributes:
        module: The module, which returns (output, matrices [n, heads, S, S]).
        query: The layer of the queries [n, S, heads * width]; the same as `key` where one makes all three.
        key: That of the keys.
        value: That of the values.
        fused: Whether one layer makes queries, keys and values, in this order.
    """

    module: str
    query: str
    key: str
    value: str
    fused: bool


@dataclass(frozen=True, kw_only=True)
class TransformerParts:
    """The names of a transformer's parts, as in named_modules().

    Attributes:
        embedding: What makes the first hidden states [n, S, width] of sub-words: the last module before the
            first layer, or the table of sub-words.
        table: The table of sub-words.
        layers: The hidden layers, each of which returns its hidden states [n, S, width].
        attention: The attention module of each.
        heads: Attention heads of a layer.
        key_heads: Heads of keys and values, fewer where several queries share them.
        width: Of the hidden states.
    """

    embedding: str
    table: str
    layers: tuple[str, ...]
    attention: tuple[AttentionParts, ...]
    heads: int
    key_heads: int
    width: int


def parts_of(network: nn.Module, config: Any) -> TransformerParts:
    """The parts of a network that holds a transformer of this configuration.

    Raises:
        HubModelError: No such parts are found in it.
    """
    modules = dict(network.named_modules())
    wanted = int(config.num_hidden_layers)
    lists = [
        name
        for name, module in modules.items()
        if isinstance(module, nn.ModuleList) and len(module) == wanted and _attention(modules, f"{name}.0")
    ]
    if not lists:
        raise HubModelError(
            f"{config.model_type}: no list of {wanted} layers with attention is found in it; techniques of "
            "hidden states and attention do not reach it, those of answers do"
        )
    stack = lists[0]
    layers = tuple(f"{stack}.{place}" for place in range(wanted))
    table = _table(network, modules, config)
    return TransformerParts(
        embedding=_embedding(modules, table, stack),
        table=table,
        layers=layers,
        attention=tuple(_attention_parts(modules, layer) for layer in layers),
        heads=int(config.num_attention_heads),
        key_heads=int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads),
        width=int(config.hidden_size),
    )


def _attention(modules: dict[str, nn.Module], layer: str) -> str | None:
    """The first module within a layer whose children project to queries, keys and values."""
    for name, module in modules.items():
        if name.startswith(f"{layer}.") and _projections(module) is not None:
            return name
    return None


def _projections(module: nn.Module) -> tuple[str, str, str] | None:
    children = [name for name, _ in module.named_children()]
    fused = next((name for name in children if _ALL.search(name)), None)
    if fused is not None:
        return fused, fused, fused
    found = [next((name for name in children if one.search(name)), None) for one in (_QUERY, _KEY, _VALUE)]
    if None in found:
        return None
    query, key, value = (str(name) for name in found)
    return query, key, value


def _attention_parts(modules: dict[str, nn.Module], layer: str) -> AttentionParts:
    name = _attention(modules, layer)
    if name is None:
        raise HubModelError(f"{layer}: a layer without attention among others that have it")
    projections = _projections(modules[name])
    assert projections is not None
    query, key, value = (f"{name}.{part}" for part in projections)
    return AttentionParts(module=name, query=query, key=key, value=value, fused=query == key)


def _table(network: nn.Module, modules: dict[str, nn.Module], config: Any) -> str:
    for name, module in modules.items():
        if isinstance(module, nn.Embedding) and module.num_embeddings == config.vocab_size:
            return name
    raise HubModelError(f"{config.model_type}: no table of {config.vocab_size} sub-words is found in it")


def _embedding(modules: dict[str, nn.Module], table: str, stack: str) -> str:
    """The module that holds the table and no layers; the table itself where none but it does."""
    parent = table.rpartition(".")[0]
    while parent and not f"{stack}.".startswith(f"{parent}."):
        table, parent = parent, parent.rpartition(".")[0]
    return table
