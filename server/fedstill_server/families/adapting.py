"""Lets a part of a network train and freezes the rest: its head, low-rank adapters, or parameters by name.

Low-rank adapters (LoRA: Hu et al. 2021, "LoRA: Low-rank adaptation of large language models", arXiv
2106.09685) stand beside the frozen linear and convolutional layers:

    y = W x + b + (alpha / r) B A x,    A [r, in] random, B [out, r] = 0

so that an adapted network begins as the network that it adapts.
"""

from __future__ import annotations

import logging
from fnmatch import fnmatchcase

import torch
from fedstill_proto.errors import unknown_name
from torch import Tensor, nn

from fedstill_server.families.train_rule import HEAD, LORA, TrainRule
from fedstill_server.plugins import PluginError

log = logging.getLogger(__name__)
_MOST_LISTED = 16  # names of parameters, in an error
_HEADS = ("output", "classifier", "fc", "head")
_told: set[tuple[str, tuple[str, ...]]] = set()


def adapted(name: str, network: nn.Module, rule: TrainRule, x: Tensor) -> nn.Module:
    """The network with what `rule` names to train, and the rest frozen; it is changed in place.

    Args:
        name: The family's, for messages.
        network: The network.
        rule: What trains.
        x: Examples that it takes, [n, *input_shape].

    Raises:
        PluginError: The network has no such part.
    """
    if rule.kind == "names":
        _train_named(name, network, rule.patterns)
    elif rule.kind in (HEAD, LORA):
        head = head_of(name, network, x)
        for value in network.parameters():
            value.requires_grad_(False)
        if rule.kind == LORA:
            _insert_adapters(name, network, rule, apart_from=head)
        for value in head.parameters():
            value.requires_grad_(True)
        if rule.fresh:
            _begin_anew(name, head)
    return network


def head_of(name: str, network: nn.Module, x: Tensor) -> nn.Module:
    """The layer that gives the logits: `output`, or the linear layer that examples reach last.

    Raises:
        PluginError: There is none.
    """
    output = getattr(network, "output", None)
    if isinstance(output, nn.Linear):
        return output
    reached: list[nn.Module] = []
    hooks = [
        layer.register_forward_hook(lambda layer, *_: reached.append(layer))
        for layer in network.modules()
        if isinstance(layer, nn.Linear)
    ]
    try:
        _answer(network, x)
    finally:
        for hook in hooks:
            hook.remove()
    if reached:
        return reached[-1]
    for attribute in _HEADS:  # a head of another kind, such as a convolution of 1x1
        part = getattr(network, attribute, None)
        if isinstance(part, nn.Module) and any(True for _ in part.parameters()):
            return part
    raise PluginError(
        f"{name}: no head: no linear layer is reached, and there is no {', '.join(_HEADS[:-1])} or "
        f"{_HEADS[-1]}; say what trains by name, such as {_last_layer(network)}.*"
    )


def freeze_unreached(name: str, network: nn.Module, x: Tensor) -> None:
    """Freeze the parameters that no gradient of the answers reaches: they are detached, or nothing uses them.

    Nobody is to find out after a run that they never trained; a notice names them once.

    Raises:
        PluginError: Nothing is left that trains.
    """
    training = {each: value for each, value in network.named_parameters() if value.requires_grad}
    if training:
        with torch.enable_grad():
            answer = _answer(network, x)
        reached = (
            torch.autograd.grad(answer.sum(), list(training.values()), allow_unused=True)
            if answer.requires_grad
            else (None,) * len(training)
        )
        unreached = tuple(each for each, gradient in zip(training, reached, strict=True) if gradient is None)
        for each in unreached:
            training[each].requires_grad_(False)
        if len(unreached) == len(training):
            raise PluginError(
                f"{name}: no gradient reaches {_some(unreached)}: the network detaches what they compute, or "
                "does not use them; nothing would train"
            )
        if unreached and (name, unreached) not in _told:
            _told.add((name, unreached))
            log.warning("%s: no gradient reaches %s (detached, or not used): frozen", name, _some(unreached))
    elif any(True for _ in network.parameters()):
        raise PluginError(
            f"{name}: nothing trains: all of its parameters are frozen (requires_grad=False); let some "
            'train, or say what does, with train="head", "lora:8" or names of parameters'
        )
    else:
        raise PluginError(f"{name}: it has no parameters; nothing would train")


class LowRankLinear(nn.Module):
    """A frozen linear layer with a low-rank adapter (see above)."""

    def __init__(self, base: nn.Linear, *, rank: int, alpha: float) -> None:
        super().__init__()
        self.base, self.scale = base, alpha / rank
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        adapted: Tensor = self.base(x) + self.scale * self.up(self.down(x))
        return adapted


class LowRankConvolution(nn.Module):
    """A frozen convolution with an adapter: one to `rank` channels, and one of size 1 from there."""

    def __init__(self, base: nn.Conv1d | nn.Conv2d, *, rank: int, alpha: float) -> None:
        super().__init__()
        self.base, self.scale = base, alpha / rank
        kind = type(base)
        self.down = kind(
            base.in_channels,
            rank,
            base.kernel_size,  # type: ignore[arg-type]
            stride=base.stride,  # type: ignore[arg-type]
            padding=base.padding,  # type: ignore[arg-type]
            dilation=base.dilation,  # type: ignore[arg-type]
            bias=False,
            padding_mode=base.padding_mode,
        )
        self.up = kind(rank, base.out_channels, 1, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        adapted: Tensor = self.base(x) + self.scale * self.up(self.down(x))
        return adapted


def _insert_adapters(name: str, network: nn.Module, rule: TrainRule, *, apart_from: nn.Module) -> None:
    inside = set(apart_from.modules())
    found = [
        (parent, each, layer)
        for parent in network.modules()
        for each, layer in parent.named_children()
        if layer not in inside and _takes_adapter(layer)
    ]
    if not found:
        raise PluginError(
            f"{name}: lora: it has no linear layer beside its head and no convolution without groups; give "
            '"head", or names of parameters'
        )
    for parent, each, layer in found:
        setattr(parent, each, _with_adapter(layer, rule))


def _with_adapter(layer: nn.Module, rule: TrainRule) -> nn.Module:
    if isinstance(layer, nn.Linear):
        return LowRankLinear(layer, rank=rule.rank, alpha=rule.alpha)
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)
    return LowRankConvolution(layer, rank=rule.rank, alpha=rule.alpha)


def _begin_anew(name: str, head: nn.Module) -> None:
    if not isinstance(head, nn.Linear | nn.Conv1d | nn.Conv2d):
        raise PluginError(f"{name}: head:fresh: its head is a {type(head).__name__}; give head, as it is")
    head.reset_parameters()


def _takes_adapter(layer: nn.Module) -> bool:
    """Whether it is a layer of just this class: subclasses are called in other ways, as in attention."""
    if type(layer) in (nn.Conv1d, nn.Conv2d):
        assert isinstance(layer, nn.Conv1d | nn.Conv2d)
        return layer.groups == 1
    return type(layer) is nn.Linear


def _train_named(name: str, network: nn.Module, patterns: tuple[str, ...]) -> None:
    names = [each for each, _ in network.named_parameters()]
    for pattern in patterns:
        if not any(fnmatchcase(each, pattern) for each in names):
            parts = [f"{each}.*" for each, _ in network.named_children()]
            known = names if len(names) <= _MOST_LISTED else parts
            raise unknown_name(f"{name}: train", pattern, known)
    for each, value in network.named_parameters():
        value.requires_grad_(any(fnmatchcase(each, pattern) for pattern in patterns))


def _answer(network: nn.Module, x: Tensor) -> Tensor:
    """What the network answers; it is in training mode, or not, as before."""
    was_training = network.training
    try:
        answer: Tensor = network.eval()(x)
    finally:
        network.train(was_training)
    return answer


def _last_layer(network: nn.Module) -> str:
    return [each for each, _ in network.named_parameters()][-1].rpartition(".")[0] or "layer"


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
