"""Torch modules as values: parameters in, parameters out, the same on every run.

This is the one place that computes a network's soft labels: in eval mode, without gradients.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from fedstill_proto.arrays import FloatArray, Parameters
from fedstill_proto.errors import FedstillError
from fedstill_proto.package.target import NEAR, SINGLE_LABEL, Target
from torch import nn

from fedstill_server.families.state import student_state

_ROWS_AT_ONCE = 4096
_VALUES_AT_ONCE = 1 << 22  # of examples: 341 pictures of 3 x 64 x 64
_WORTH_MOVING = 200_000  # parameters


@contextmanager
def one_deterministic_thread() -> Iterator[None]:
    """A context whose results do not depend on the machine's load, and that leaves the other cores alone."""
    threads, strict = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    memory: Any = torch.utils.deterministic  # a module whose one attribute its types do not know
    filled = memory.fill_uninitialized_memory
    torch.set_num_threads(1)
    # As torch.use_deterministic_algorithms does, which takes two seconds to import torch's compiler.
    torch.set_deterministic_debug_mode("error")
    # Nothing here reads memory that it has not written, and filling it takes a tenth of a small step.
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode(strict)
        memory.fill_uninitialized_memory = filled


def torch_device(chosen: str, network: nn.Module) -> torch.device:
    """Where a network computes: "cpu", "cuda", or with "auto" wherever a network of its size is faster.

    Raises:
        FedstillError: CUDA is asked for, and torch finds none.
    """
    if chosen == "cuda" and not torch.cuda.is_available():
        raise FedstillError("--device cuda: torch finds no CUDA device here; give auto or cpu")
    if chosen == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    size = sum(value.numel() for value in network.parameters())
    if chosen == "auto" and size < _WORTH_MOVING:
        return torch.device("cpu")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic products need
    return torch.device("cuda")


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
    state = network.state_dict()  # with the versions of its layers, which some ask for
    for name in student_state(network).tensors.keys() - parameters.keys():
        del state[name]  # and is missed by name
    state.update({name: torch.from_numpy(value.copy()) for name, value in parameters.items()})
    network.load_state_dict(state)
    return network


def state_of(network: nn.Module) -> Parameters:
    """The parameters, and whatever else a network keeps in real numbers, such as running means."""
    return {
        name: value.detach().numpy().copy()
        for name, value in network.state_dict().items()
        if value.is_floating_point()
    }


def logits_of(network: nn.Module, x: FloatArray, *, device: str = "cpu") -> FloatArray:
    """Logits [n, classes] in eval mode, without gradients; device: see `torch_device`."""
    was_training, at = network.training, torch_device(device, network)
    rows = max(min(_ROWS_AT_ONCE, _VALUES_AT_ONCE // max(x[:1].size, 1)), 1)
    network.eval().to(at)
    with torch.no_grad():
        parts = [network(torch.from_numpy(x[i : i + rows]).to(at)).cpu() for i in range(0, len(x), rows)]
    network.train(was_training).to("cpu")
    logits: FloatArray = torch.cat(parts).numpy()
    return logits


def soft_labels_of(
    network: nn.Module, x: FloatArray, *, temperature: float, device: str = "cpu"
) -> FloatArray:
    """softmax(logits / temperature) [n, classes]."""
    logits = torch.from_numpy(logits_of(network, x, device=device))
    soft: FloatArray = torch.softmax(logits / temperature, dim=-1).numpy()
    return soft


def softened(answers: FloatArray, *, temperature: float, target: Target) -> FloatArray:
    """The soft labels [n * places, classes] of answers [n, *label_shape, classes]; of numbers, the
    answers.
    """
    flat = answers.reshape(-1, answers.shape[-1])
    if target.is_regression:
        return flat
    soft: FloatArray = torch.softmax(torch.from_numpy(flat) / temperature, dim=-1).numpy()
    return soft


def accuracy_of(
    network: nn.Module, x: FloatArray, y: npt.NDArray[Any], *, target: Target = SINGLE_LABEL
) -> float:
    """The share of labels y that are the first choice of the network for x; of numbers, of those nearby."""
    answers = logits_of(network, x)
    right = np.abs(answers[..., 0] - y) <= NEAR if target.is_regression else answers.argmax(axis=-1) == y
    return float(right.mean())
