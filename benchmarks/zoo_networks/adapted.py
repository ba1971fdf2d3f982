"""Networks of which a part learns: heads on frozen bodies, adapters of low rank, and frozen buffers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.zoo_networks.images import NETWORKS as IMAGES
from benchmarks.zoo_networks.network import FEATURES, Shape, ZooNetwork
from benchmarks.zoo_networks.published import NETWORKS as PUBLISHED


class FrozenBody(nn.Module):
    """A body that does not learn, said in one of three ways, beneath a head that does."""

    def __init__(self, input_shape: Shape, classes: int, *, how: str) -> None:
        super().__init__()
        body = nn.Linear(math.prod(input_shape), 64)
        self.how = how
        if how == "buffer":
            self.register_buffer("weight", body.weight.detach().clone())
            self.register_buffer("bias", body.bias.detach().clone())
        else:
            self.body = body.requires_grad_(how == "detach")
        self.output = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        hidden = functional.linear(x, self.weight, self.bias) if self.how == "buffer" else self.body(x)
        return self.output(torch.relu(hidden.detach() if self.how == "detach" else hidden))


class LowRank(nn.Module):
    """A frozen linear layer and a change of low rank that learns (Hu et al., 2021, arXiv:2106.09685)."""

    def __init__(self, frozen: nn.Linear, rank: int = 4) -> None:
        super().__init__()
        self.frozen = frozen.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, frozen.in_features) * 0.02)
        self.up = nn.Parameter(torch.zeros(frozen.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.frozen(x) + functional.linear(functional.linear(x, self.down), self.up)


def head_only(of: ZooNetwork) -> ZooNetwork:
    """The network whose last linear layer alone learns."""

    def build(input_shape: Shape, classes: int) -> nn.Module:
        network = of.build(input_shape, classes).requires_grad_(False)
        heads = [module for module in network.modules() if isinstance(module, nn.Linear)]
        heads[-1].requires_grad_(True)
        return network

    return ZooNetwork(build, of.input_shape, of.form, of.classes)


def low_rank(of: ZooNetwork) -> ZooNetwork:
    """The network whose linear layers learn by changes of low rank, and the last one altogether."""

    def build(input_shape: Shape, classes: int) -> nn.Module:
        network = of.build(input_shape, classes).requires_grad_(False)
        linear = [name for name, module in network.named_modules() if type(module) is nn.Linear]
        for name in linear[:-1]:
            parent, _, last = name.rpartition(".")
            owner = network.get_submodule(parent)
            setattr(owner, last, LowRank(owner.get_submodule(last)))
        network.get_submodule(linear[-1]).requires_grad_(True)
        return network

    return ZooNetwork(build, of.input_shape, of.form, of.classes)


NETWORKS = {
    **{
        f"frozen-{how}": ZooNetwork(
            lambda shape, classes, how=how: FrozenBody(shape, classes, how=how),
            FEATURES,  # type: ignore[misc]
        )
        for how in ("requires-grad", "detach", "buffer")
    },
    "head-resnet8": head_only(IMAGES["resnet8"]),
    "head-mobilenet-v3": head_only(PUBLISHED["mobilenet-v3-small"]),
    "head-distilbert": head_only(PUBLISHED["distilbert"]),
    "lora-vit-block": low_rank(IMAGES["vit-block"]),
    "lora-mlp-mixer": low_rank(IMAGES["mlp-mixer"]),
    "lora-bert": low_rank(PUBLISHED["bert"]),
}
