"""Fits a network to soft labels, to labels, or to both, which takes most of the server's time.

The networks are tiny, so that what surrounds the arithmetic is the cost of a step. Hence the gradient of the
loss with respect to the logits in closed form,

    dL/dz = (1 - hard_weight) T (softmax(z/T) - soft) / n + hard_weight (softmax(z) - onehot) / n

for L = (1 - hard_weight) T^2 KL(soft || softmax(z/T)) + hard_weight CE (see losses/), where onehot may be
smoothed (Szegedy et al. 2015, arXiv 1512.00567), and AdamW (Loshchilov
and Hutter 2017, arXiv 1711.05101) over all parameters as one vector.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt
import torch
from fedstill_proto.arrays import FloatArray
from fedstill_proto.package.target import Target
from torch import Tensor, nn

from fedstill_server.families.state import answer_for_one_row, train_mode
from fedstill_server.training.networks import seeded, torch_device

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8


class Gradient(Protocol):
    """The gradient of the loss with respect to what a network says."""

    def __call__(
        self, answers: Tensor, soft: Tensor | None, hard: Tensor | None, /, *, plan: FitPlan
    ) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class FitPlan:
    """How a network is fitted: AdamW over shuffled batches, its rate falling to 0 along half a cosine."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    temperature: float = 1.0
    input_noise: float = 0.0  # standard deviation
    hard_weight: float = 0.0  # the weight of the labels' cross-entropy; the rest is the soft labels'
    label_smoothing: float = 0.0  # the share of a label that all classes have in equal parts
    input_dropout: float = 0.0  # the share of an example's numbers that are 0 each time it is seen
    device: str = "cpu"  # where it computes: see training.networks.torch_device


def fit(
    network: nn.Module,
    x: FloatArray,
    soft_labels: FloatArray | None,
    *,
    plan: FitPlan,
    seed: int,
    labels: npt.NDArray[Any] | None = None,
    gradient: Gradient | None = None,
) -> nn.Module:
    """Train a network in place, and return it.

    Args:
        network: The network.
        x: Examples [n, *input_shape].
        soft_labels: [n * places, classes]; None learns labels alone.
        plan: How it is fitted.
        seed: Decides the order of batches, and the noise.
        labels: [n, *label_shape]; None learns soft labels alone.
        gradient: That of the loss; None is the one of classes.
    """
    at = torch_device(plan.device, network)
    network.to(at)
    inputs = torch.from_numpy(x)
    slope_of = logit_gradient if gradient is None else gradient
    soft = None if soft_labels is None else torch.from_numpy(soft_labels)
    if soft is not None and len(soft) != len(x):  # a soft label at each of several places
        soft = soft.reshape(len(x), -1, soft.shape[-1])
    hard = None if labels is None else torch.from_numpy(labels)
    random = torch.Generator().manual_seed(seed)
    optimizer = _FlatAdamW(network, weight_decay=plan.weight_decay)
    steps, step = plan.epochs * -(-len(x) // plan.batch_size), 0
    with seeded(seed):
        for _ in range(plan.epochs):
            train_mode(network)
            order = torch.randperm(len(x), generator=random)
            shuffled = inputs[order]
            if plan.input_noise:
                shuffled = shuffled + plan.input_noise * torch.randn(shuffled.shape, generator=random)
            if plan.input_dropout:
                shuffled = shuffled * (torch.rand(shuffled.shape, generator=random) >= plan.input_dropout)
            for start in range(0, len(x), plan.batch_size):
                batch = slice(start, start + plan.batch_size)
                if start == len(x) - 1:
                    answer_for_one_row(network)
                logits = network(shuffled[batch].to(at))
                rows = order[batch]
                slope = slope_of(logits.detach(), _rows(soft, rows, at), _rows(hard, rows, at), plan=plan)
                optimizer.zero_gradient()
                torch.autograd.backward(logits, slope)
                optimizer.step(plan.learning_rate * (1 + math.cos(math.pi * step / steps)) / 2)
                step += 1
    return network.to("cpu")


def logit_gradient(logits: Tensor, soft: Tensor | None, hard: Tensor | None, *, plan: FitPlan) -> Tensor:
    """dL/dz [n, classes], for soft labels [n, classes], labels [n], or both, as `plan.hard_weight` weighs
    them.
    """
    hard_weight = 1.0 if soft is None else plan.hard_weight if hard is not None else 0.0
    slope = torch.zeros_like(logits)
    if soft is not None and hard_weight < 1:
        miss = torch.softmax(logits / plan.temperature, dim=-1) - soft
        slope = miss * ((1 - hard_weight) * plan.temperature / _answers(logits))
    if hard_weight > 0:
        assert hard is not None, "nothing to fit to"
        goal = nn.functional.one_hot(hard, logits.shape[-1])
        if plan.label_smoothing:
            goal = goal * (1 - plan.label_smoothing) + plan.label_smoothing / logits.shape[-1]
        miss = torch.softmax(logits, dim=-1) - goal
        slope = slope + miss * (hard_weight / _answers(logits))
    return slope


def gaussian_gradient(answers: Tensor, soft: Tensor | None, hard: Tensor | None, *, plan: FitPlan) -> Tensor:
    """The same of numbers: answers and soft labels [n, D, 2], labels [n, D] (see export/gaussian_loss.py)."""
    hard_weight = 1.0 if soft is None else plan.hard_weight if hard is not None else 0.0
    mean, log_variance = answers.unbind(-1)
    precision = torch.exp(-log_variance)
    slope = torch.zeros_like(answers)

    def of(goal: Tensor, variance: Tensor | float) -> Tensor:
        off = mean - goal
        excess = (off * off + variance) * precision
        return torch.stack([off * precision, (1 - excess) / 2], dim=-1)

    if hard is not None and hard_weight > 0:
        slope = slope + of(hard, 0.0) * hard_weight
    if soft is not None and hard_weight < 1:
        slope = slope + of(soft[..., 0], soft[..., 1].exp()) * (1 - hard_weight)
    return slope / _answers(answers)


def gradient_for(target: Target) -> Gradient:
    """The gradient of the loss of a target."""
    return gaussian_gradient if target.is_regression else logit_gradient


def _answers(logits: Tensor) -> int:
    """How many answers there are: one an example, or at each of its places."""
    return logits[..., 0].numel()


class _FlatAdamW:
    """All parameters of a network, and their gradients, as views of two vectors."""

    def __init__(self, network: nn.Module, *, weight_decay: float) -> None:
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self._values = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])
        self._gradient = torch.zeros_like(self._values)
        self._first, self._second = torch.zeros_like(self._values), torch.zeros_like(self._values)
        self._weight_decay, self._steps, start = weight_decay, 0, 0
        for parameter in parameters:
            part = slice(start, start + parameter.numel())
            parameter.data = self._values[part].view_as(parameter)
            parameter.grad = self._gradient[part].view_as(parameter)
            start += parameter.numel()

    def zero_gradient(self) -> None:
        self._gradient.zero_()

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        self._steps += 1
        self._values.mul_(1 - learning_rate * self._weight_decay)
        self._first.lerp_(self._gradient, 1 - _BETA_1)
        self._second.mul_(_BETA_2).addcmul_(self._gradient, self._gradient, value=1 - _BETA_2)
        deviation = self._second.sqrt().div_(math.sqrt(1 - _BETA_2**self._steps)).add_(_EPSILON)
        self._values.addcdiv_(self._first, deviation, value=-learning_rate / (1 - _BETA_1**self._steps))


def _rows(values: Tensor | None, rows: Tensor, at: torch.device) -> Tensor | None:
    return None if values is None else values[rows].to(at)
