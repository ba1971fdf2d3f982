"""Torch modules as values: parameters in, parameters out, the same on every run.

The one place where a network's soft labels are taken: in eval mode, without gradients.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from fedstill_proto.messages import Parameters
from fedstill_proto.soft_labels import FloatArray, IntArray
from torch import Tensor, nn

from fedstill_server.losses import cross_entropy, soft_label_loss

_ROWS_AT_ONCE = 4096


@contextmanager
def one_deterministic_thread() -> Iterator[None]:
    """Results that do not depend on the machine's load, nor take cores from the devices' simulation."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)


@dataclass(frozen=True, kw_only=True)
class FitPlan:
    """How a network is fitted: AdamW over shuffled batches, its rate falling to 0 along half a cosine."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    temperature: float = 1.0
    input_noise: float = 0.0  # standard deviation
    hard_weight: float = 0.0  # of the labels' cross-entropy; the rest is the soft labels'


def parameters_of(network: nn.Module) -> Parameters:
    return {name: value.detach().numpy().copy() for name, value in network.named_parameters()}


def load_parameters(network: nn.Module, parameters: Parameters) -> nn.Module:
    """Put `parameters` into `network`, and return it."""
    network.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in parameters.items()})
    return network


def logits_of(network: nn.Module, x: FloatArray) -> FloatArray:
    """Logits [n, classes] in eval mode, without gradients."""
    was_training = network.training
    network.eval()
    with torch.no_grad():
        parts = [network(torch.from_numpy(x[i : i + _ROWS_AT_ONCE])) for i in range(0, len(x), _ROWS_AT_ONCE)]
    network.train(was_training)
    logits: FloatArray = torch.cat(parts).numpy()
    return logits


def soft_labels_of(network: nn.Module, x: FloatArray, *, temperature: float) -> FloatArray:
    """softmax(logits / temperature) [n, classes]."""
    soft: FloatArray = torch.softmax(torch.from_numpy(logits_of(network, x)) / temperature, dim=-1).numpy()
    return soft


def accuracy_of(network: nn.Module, x: FloatArray, y: IntArray) -> float:
    return float((logits_of(network, x).argmax(axis=-1) == y).mean())


def fit(
    network: nn.Module,
    x: FloatArray,
    soft_labels: FloatArray | None,
    *,
    plan: FitPlan,
    seed: int,
    labels: IntArray | None = None,
) -> nn.Module:
    """Train `network` in place on soft labels [n, classes], on labels [n], or on both; and return it."""
    inputs = torch.from_numpy(x)
    soft = None if soft_labels is None else torch.from_numpy(soft_labels)
    hard = None if labels is None else torch.from_numpy(labels)
    random = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay, fused=True
    )
    steps = plan.epochs * -(-len(x) // plan.batch_size)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(steps, 1))
    network.train()
    for rows in itertools.chain.from_iterable(_epochs(len(x), plan, random)):
        batch = inputs[rows]
        if plan.input_noise:
            batch = batch + plan.input_noise * torch.randn(batch.shape, generator=random)
        loss = _loss(network(batch), _rows(soft, rows), _rows(hard, rows), plan)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        falling.step()
    return network


def _epochs(examples: int, plan: FitPlan, random: torch.Generator) -> Iterator[Sequence[Tensor]]:
    for _ in range(plan.epochs):
        yield torch.randperm(examples, generator=random).split(plan.batch_size)  # type: ignore[no-untyped-call]


def _rows(values: Tensor | None, rows: Tensor) -> Tensor | None:
    return None if values is None else values[rows]


def _loss(logits: Tensor, soft: Tensor | None, hard: Tensor | None, plan: FitPlan) -> Tensor:
    if soft is None:
        assert hard is not None, "nothing to fit to"
        return cross_entropy(logits, hard)
    loss = soft_label_loss(logits, soft, temperature=plan.temperature)
    if hard is None or plan.hard_weight == 0:
        return loss
    return plan.hard_weight * cross_entropy(logits, hard) + (1 - plan.hard_weight) * loss
