"""Torch modules as values: parameters in, parameters out, the same on every run.

This is the one place that computes a network's soft labels: in eval mode, without gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from fedstill_proto.arrays import FloatArray, IntArray, Parameters
from torch import nn

from fedstill_server.families.state import student_state

_ROWS_AT_ONCE = 4096


@contextmanager
def one_deterministic_thread() -> Iterator[None]:
    """A context whose results do not depend on the machine's load, and that leaves the other cores alone."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    memory: Any = torch.utils.deterministic  # a module whose one attribute its types do not know
    filled = memory.fill_uninitialized_memory
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    # Nothing here reads memory that it has not written, and filling it takes a tenth of a small step.
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)
        memory.fill_uninitialized_memory = filled


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's own random numbers, which a network's dropout draws, from a seed; afterwards as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def parameters_of(network: nn.Module) -> Parameters:
    """Copies of what is a network's own: its parameters in its order, then its moving buffers."""
    return {name: value.detach().numpy().copy() for name, value in student_state(network).tensors.items()}


def load_parameters(network: nn.Module, parameters: Parameters) -> nn.Module:
    """Put `parameters` into `network`, and return it; tensors that are none stay as they are."""
    learned = student_state(network).tensors
    state = {name: value for name, value in network.state_dict().items() if name not in learned}
    state |= {name: torch.from_numpy(value.copy()) for name, value in parameters.items()}
    network.load_state_dict(state)
    return network


def state_of(network: nn.Module) -> Parameters:
    """The parameters, and whatever else a network keeps in real numbers, such as running means."""
    return {
        name: value.detach().numpy().copy()
        for name, value in network.state_dict().items()
        if value.is_floating_point()
    }


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
    """The share of labels y [n] that are the first choice of the network for x."""
    return float((logits_of(network, x).argmax(axis=-1) == y).mean())
