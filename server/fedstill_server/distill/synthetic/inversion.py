"""Inversion: examples that a teacher is sure of, found by the gradient of its answer with respect to its
input (DeepInversion, Yin et al. 2020, arXiv 1912.08795).

    min_x CE(teacher(x), c) + total_variation TV(x) + size ||x||^2 + statistics sum_l ||mean, var of layer l
          - the running statistics of the teacher's BatchNorm layers||

for classes c in turn; the last term is there where the teacher has such layers. Each example starts as noise,
stops after its own number of steps, and so has its own confidence: answers that are all certain teach little.
The variation is off by default: on 8x8 digits it costs 3 to 40 points.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from fedstill_proto.arrays import FloatArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fedstill_server.distill.synthetic.interface import Canvas

_NORMALIZED = (nn.BatchNorm1d, nn.BatchNorm2d)


def inverted_examples(
    teacher: nn.Module,
    canvas: Canvas,
    *,
    steps: int = 40,
    learning_rate: float = 0.05,
    total_variation: float = 0.0,
    size: float = 0.05,
    statistics: float = 1.0,
) -> FloatArray:
    """Examples [count, *shape]; the teacher is left as it was."""
    random = canvas.random()
    x = torch.rand(canvas.count, canvas.width, generator=random).requires_grad_()
    goals = torch.arange(canvas.count) % canvas.classes
    last = torch.randint(1, steps + 1, (canvas.count,), generator=random)  # steps of each example
    optimizer = torch.optim.Adam([x], lr=learning_rate)
    done = torch.empty(canvas.count, canvas.width)
    with frozen(teacher), _remembered_statistics(teacher) as distances:
        for step in range(1, steps + 1):
            distances.clear()
            made = canvas.of_unit(x)
            loss = cross_entropy(teacher(made), goals, reduction="sum")
            loss = loss + size * x.square().sum() + total_variation * _variation(made)
            loss = loss + statistics * sum(distances, torch.zeros(())) * len(x)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            with torch.no_grad():
                x.clamp_(0, 1)
                done[last == step] = x[last == step]
    found: FloatArray = canvas.of_unit(done).numpy()
    return found


def _variation(x: Tensor) -> Tensor:
    """The sum of absolute differences between neighbours along the last dimensions, up to two."""
    total = x.new_zeros(())
    for dimension in range(max(1, x.dim() - 2), x.dim()):
        total = total + x.diff(dim=dimension).abs().sum()
    return total


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """A context with the network in eval mode, and no gradients of its parameters."""
    before = [(value, value.requires_grad) for value in network.parameters()]
    was_training = network.training
    network.eval().requires_grad_(False)
    try:
        yield
    finally:
        network.train(was_training)
        for value, wanted in before:
            value.requires_grad_(wanted)


def statistics_distance(features: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """||mean - the features'|| + ||variance - the features'||, by channel of features [n, channels, ...]."""
    others = [dimension for dimension in range(features.dim()) if dimension != 1]
    own_mean, own_variance = features.mean(others), features.var(others, unbiased=False)
    norm = torch.linalg.vector_norm
    distance: Tensor = norm(own_mean - mean) + norm(own_variance - variance)
    return distance


@contextmanager
def _remembered_statistics(network: nn.Module) -> Iterator[list[Tensor]]:
    """A context in which a forward pass adds up each BatchNorm layer's distance from its running
    statistics.
    """
    distances: list[Tensor] = []

    def measure(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, _NORMALIZED)
        if layer.running_mean is None or layer.running_var is None:
            return
        distances.append(statistics_distance(inputs[0], layer.running_mean, layer.running_var))

    handles = [
        module.register_forward_pre_hook(measure)
        for module in network.modules()
        if isinstance(module, _NORMALIZED)
    ]
    try:
        yield distances
    finally:
        for handle in handles:
            handle.remove()
