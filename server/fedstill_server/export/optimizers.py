"""The optimizers of a training step, written out so that they can be captured.

Each is told where the learning rate goes (`scales_rows`), which slots it keeps for every parameter, which
scalars the host must pass, and its update `(parameter, gradient, slots, scalars) -> (new parameter, new
slots)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fedstill_proto.messages import Optimizer
from torch import Tensor

MOMENTUM = 0.9
ADAMW_BETAS = (0.9, 0.999)
ADAMW_WEIGHT_DECAY = 0.01

Scalars = dict[str, Tensor]
Update = Callable[[Tensor, Tensor, tuple[Tensor, ...], Scalars], tuple[Tensor, tuple[Tensor, ...]]]


@dataclass(frozen=True)
class OptimizerRule:
    update: Update
    slots: tuple[str, ...] = ()
    scalars: tuple[str, ...] = ()
    scales_rows: bool = False
    """The gradient arrives already multiplied by the learning rate (folded into the weights of the rows)."""


def sgd(
    parameter: Tensor, gradient: Tensor, slots: tuple[Tensor, ...], scalars: Scalars
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """p <- p - g, where g carries the learning rate."""
    return parameter - gradient, ()


def momentum(
    parameter: Tensor, gradient: Tensor, slots: tuple[Tensor, ...], scalars: Scalars
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """m <- 0.9 m + g;  p <- p - lr m  (torch's SGD with momentum)."""
    velocity = slots[0] * MOMENTUM + gradient
    return parameter - velocity * scalars["lr"], (velocity,)


def adamw(
    parameter: Tensor, gradient: Tensor, slots: tuple[Tensor, ...], scalars: Scalars
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """AdamW (Loshchilov and Hutter, 2017, arXiv:1711.05101) as torch computes it.

    The host passes `bias_correction1 = 1 - 0.9^t` and `bias_correction2 = 1 - 0.999^t`, computed in float64
    because they cancel in float32, and epsilon, which graph optimizers delete when it is a constant.
    """
    beta1, beta2 = ADAMW_BETAS
    first = slots[0] * beta1 + gradient * (1.0 - beta1)
    second = slots[1] * beta2 + gradient * gradient * (1.0 - beta2)
    deviation = second.sqrt() / scalars["bias_correction2"].sqrt() + scalars["epsilon"]
    step = scalars["lr"] / scalars["bias_correction1"]
    decay = 1.0 - scalars["lr"] * ADAMW_WEIGHT_DECAY
    return parameter * decay - first / deviation * step, (first, second)


RULES: dict[Optimizer, OptimizerRule] = {
    Optimizer.SGD: OptimizerRule(sgd, scales_rows=True),
    Optimizer.MOMENTUM: OptimizerRule(momentum, slots=("momentum",)),
    Optimizer.ADAMW: OptimizerRule(
        adamw,
        slots=("first_moment", "second_moment"),
        scalars=("bias_correction1", "bias_correction2", "epsilon"),
    ),
}
