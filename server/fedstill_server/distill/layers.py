"""The outputs of a network's inner layers, without a change to the network.

A layer is named as in `named_modules()`; its features are what it returns (a linear layer's come before the
activation that follows it). The layers that can be watched are the linear ones and the convolutions, except
the last, whose output is the logits; of a model of Hugging Face they are its hidden layers, which its
configuration counts (hugging_face/parts.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from fedstill_server.distill.errors import DistillError
from fedstill_server.families.state_space import SelectiveStateSpace
from fedstill_server.families.transformer import AttentionWeights, CausalTransformer
from fedstill_server.hugging_face.errors import HubModelError
from fedstill_server.hugging_face.network import SubwordNetwork
from fedstill_server.hugging_face.parts import TransformerParts, parts_of

LOGITS = "logits"
"""The name under which a network's answer stands among its features."""

LAYERS, ATTENTION, STATES, PROJECTIONS = "layers", "attention", "states", "projections"
"""The kinds of parts that techniques compare: see `parts_shown`."""

_ATTENTION = (AttentionWeights, nn.MultiheadAttention)
_WATCHED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@runtime_checkable
class ShowsParts(Protocol):
    """A teacher that shows more of itself than layers and attention matrices."""

    def parts(self, kind: str) -> tuple[str, ...]:
        """The names of the parts of a kind, as `parts_shown` gives them."""


def inner_layers(network: nn.Module) -> tuple[str, ...]:
    """The names of the layers that can be watched, in the order of the network."""
    transformer = transformer_of(network)
    if transformer is not None:
        return transformer.layers
    names = [name for name, module in network.named_modules() if isinstance(module, _WATCHED)]
    return tuple(names[:-1])


def attention_parts(network: nn.Module) -> tuple[str, ...]:
    """The names of the parts that return attention matrices."""
    transformer = transformer_of(network)
    if transformer is not None:
        return tuple(part.module for part in transformer.attention)
    return tuple(name for name, module in network.named_modules() if isinstance(module, _ATTENTION))


def transformer_of(network: nn.Module) -> TransformerParts | None:
    """The parts of a model of Hugging Face; None for another network, and where they are not found."""
    if not isinstance(network, SubwordNetwork):
        return None
    try:
        return parts_of(network, network.model.config)
    except HubModelError:
        return None


def parts_shown(network: nn.Module, kind: str) -> tuple[str, ...]:
    """The names of the parts of a network that techniques of a kind compare.

    Args:
        network: A student, or a teacher.
        kind: "layers" for the inner layers; "attention" for what returns attention matrices; "states" for
            what makes a transformer's first hidden states, and then its layers; "projections" for what makes
            queries, keys and values of each layer, in this order. The last two are empty for a network that
            is no transformer.
    """
    if kind == LAYERS:
        return inner_layers(network)
    if kind == ATTENTION:
        return attention_parts(network)
    transformer = transformer_of(network)
    if kind == STATES:
        if transformer is not None:
            return (transformer.embedding, *transformer.layers)
        return ("embedding", *_blocks(network)) if _blocks(network) else ()
    if transformer is not None:
        if any(part.fused for part in transformer.attention):
            return ()
        return tuple(name for part in transformer.attention for name in (part.query, part.key, part.value))
    if not isinstance(network, CausalTransformer):
        return ()
    return tuple(
        f"{block}.attention.{name}" for block in _blocks(network) for name in ("query", "key", "value")
    )


def parts_of_teacher(teacher: object, kind: str) -> tuple[str, ...]:
    """The same of a teacher; none of one that shows its answers alone."""
    if kind in (LAYERS, ATTENTION):
        return tuple(getattr(teacher, kind, ()))
    return teacher.parts(kind) if isinstance(teacher, ShowsParts) else ()


def _blocks(network: nn.Module) -> tuple[str, ...]:
    if not isinstance(network, CausalTransformer | SelectiveStateSpace):
        return ()
    return tuple(f"blocks.{place}" for place in range(len(network.blocks)))


@contextmanager
def watched(network: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """A context in which a forward pass leaves the features of `layers` in the dictionary that it yields."""
    modules = dict(network.named_modules())
    matrices = {*attention_parts(network)}
    seen: dict[str, Tensor] = {}
    handles = []
    try:
        for name in layers:
            if name not in modules or not name:
                known = ", ".join((*inner_layers(network), *attention_parts(network))) or "none"
                raise DistillError(f"layers: {name!r} is no layer of the network; there are {known}")

            def keep(_module: nn.Module, _x: object, features: object, name: str = name) -> None:
                seen[name] = _one_tensor(features, name, second=name in matrices)

            handles.append(modules[name].register_forward_hook(keep))
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _one_tensor(features: object, name: str, *, second: bool) -> Tensor:
    """The tensor that a part returns; of several the first, or the second, of parts that return their
    attention matrices beside their output."""
    tensor = features
    if isinstance(features, tuple):
        tensor = features[1] if second and len(features) > 1 else features[0]
    if not isinstance(tensor, Tensor):
        raise DistillError(
            f"layers: {name} puts out a {type(tensor).__name__}, not a tensor; nn.MultiheadAttention shows "
            "its matrices where it is called with need_weights=True, models of Hugging Face where they are "
            "made with attn_implementation=eager"
        )
    return tensor


def uniform_map(student: Sequence[str], teacher: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Pairs of (student layer, teacher layer), the student's spread evenly over the teacher's depth."""
    if not student or not teacher:
        return ()
    last = len(teacher)
    return tuple(
        (name, teacher[-(-last * (place + 1) // len(student)) - 1]) for place, name in enumerate(student)
    )


def parse_map(text: str, student: Sequence[str], teacher: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Pairs of (student layer, teacher layer) that `text` names.

    `uniform`, `last` (the last inner layers), `logits`, or pairs such as `hidden.0=hidden.1,logits=logits`,
    which may name any part of the networks.
    """
    if text == LOGITS:
        return ((LOGITS, LOGITS),)
    if text in ("uniform", "last") and not (student and teacher):
        who = "student" if not student else "teacher"
        raise DistillError(
            f"layers: the {who} shows no inner layers; a teacher of features is a torch module, and layers = "
            '"logits" does without'
        )
    if text == "uniform":
        return uniform_map(student, teacher)
    if text == "last":
        return ((student[-1], teacher[-1]),)
    pairs = []
    for pair in text.split(","):
        mine, equals, theirs = (part.strip() for part in pair.partition("="))
        if not (equals and mine and theirs):
            raise DistillError(
                f"layers: {pair!r} is not <student layer>=<teacher layer>; the student has "
                f"{', '.join(student) or 'none'}, the teacher {', '.join(teacher) or 'none'}"
            )
        pairs.append((mine, theirs))
    return tuple(pairs)
