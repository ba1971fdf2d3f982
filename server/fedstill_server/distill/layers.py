"""The outputs of a network's inner layers, without a change to the network.

A layer is named as in `named_modules()`; its features are what it returns (a linear layer's come before the
activation that follows it). The layers that can be watched are the linear ones and the convolutions, except
the last, whose output is the logits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from fedstill_server.distill.errors import DistillError
from fedstill_server.families.transformer import AttentionWeights

LOGITS = "logits"
"""The name under which a network's answer stands among its features."""

_ATTENTION = (AttentionWeights, nn.MultiheadAttention)
_WATCHED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def inner_layers(network: nn.Module) -> tuple[str, ...]:
    """The names of the layers that can be watched, in the order of the network."""
    names = [name for name, module in network.named_modules() if isinstance(module, _WATCHED)]
    return tuple(names[:-1])


def attention_parts(network: nn.Module) -> tuple[str, ...]:
    """The names of the parts that return attention matrices."""
    return tuple(name for name, module in network.named_modules() if isinstance(module, _ATTENTION))


@contextmanager
def watched(network: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """A context in which a forward pass leaves the features of `layers` in the dictionary that it yields."""
    modules = dict(network.named_modules())
    seen: dict[str, Tensor] = {}
    handles = []
    try:
        for name in layers:
            if name not in modules or not name:
                known = ", ".join((*inner_layers(network), *attention_parts(network))) or "none"
                raise DistillError(f"layers: {name!r} is no layer of the network; there are {known}")

            def keep(_module: nn.Module, _x: object, features: object, name: str = name) -> None:
                seen[name] = _one_tensor(features, name)

            handles.append(modules[name].register_forward_hook(keep))
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _one_tensor(features: object, name: str) -> Tensor:
    """The tensor that a part returns; the matrices, for nn.MultiheadAttention, which returns two."""
    tensor = features[1] if isinstance(features, tuple) and len(features) == 2 else features
    if not isinstance(tensor, Tensor):
        raise DistillError(
            f"layers: {name} puts out a {type(tensor).__name__}, not a tensor; nn.MultiheadAttention shows "
            "its matrices where it is called with need_weights=True"
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
