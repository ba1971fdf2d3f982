"""What a training step should compute, in the plainest torch: the independent side of the gate.

Nothing here is shared with the capture: the loss goes through log_softmax and automatic differentiation,
the optimizers are torch.optim's, and there are no stacks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import StudentManifest
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

from fedstill_server.export.given_numbers import GivenNumbers
from fedstill_server.export.randomness import UNIFORM
from fedstill_server.export.student import load_parameters
from fedstill_server.export.substitutes import substituted
from fedstill_server.families import build_student
from fedstill_server.families.features import with_features
from fedstill_server.families.state import student_state, train_mode

Arrays = Mapping[str, np.ndarray]


class ReferenceStudent:
    """One student with its optimizer, in float64 or float32."""

    def __init__(self, manifest: StudentManifest, parameters: Arrays, *, dtype: torch.dtype) -> None:
        self._manifest = manifest
        self._dtype = dtype
        self.module = build_student(
            manifest.family, manifest.input_shape, manifest.classes, target=manifest.target
        )
        load_parameters(self.module, parameters)
        self.module.to(dtype)
        self._optimizer = _optimizer(manifest.optimizer, self.module)

    def step(self, batch: Arrays, *, learning_rate: float) -> float:
        """One step on the device's share of a batch; returns the loss."""
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.zero_grad()
        loss = self.loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return float(loss.detach())

    def restart(self, parameters: Arrays) -> None:
        """Stand where these parameters are, before a first step."""
        with torch.no_grad():
            for name, value in student_state(self.module).tensors.items():
                value.copy_(torch.from_numpy(parameters[name]))
        self._optimizer = _optimizer(self._manifest.optimizer, self.module)

    def last_gradients(self) -> dict[str, np.ndarray]:
        """The gradients of the last step."""
        return {
            name: np.zeros(value.shape) if value.grad is None else value.grad.numpy().copy()
            for name, value in student_state(self.module).trainable.items()
        }

    def loss(self, batch: Arrays) -> Tensor:
        """The loss of a batch; all places of all rows are weighted by `hard_weight` and `soft_weight`.

        Rows that weigh nothing are left out, as if they were not there.
        """
        given = {int(port.name.removeprefix(UNIFORM)): batch[port.name] for port in self._manifest.uniforms}
        batch = _weighing({name: array for name, array in batch.items() if not name.startswith(UNIFORM)})
        train_mode(self.module)
        with substituted(GivenNumbers(given).substitutes) if given else nullcontext():
            logits = self.module(self._tensor(batch["x"])).flatten(0, -2)  # [rows * places, classes]
        if self._manifest.target.is_regression:
            return self._gaussian_loss(logits, batch)
        labels = torch.from_numpy(batch["labels"]).flatten()
        hard = functional.cross_entropy(logits, labels, reduction="none")
        loss = (self._tensor(batch["hard_weight"]).flatten() * hard).sum()
        if self._manifest.soft_labels == "none":
            return loss
        temperature = float(batch["temperature"][0])
        log_probabilities = functional.log_softmax(logits / temperature, dim=-1)
        if self._manifest.soft_labels == "dense":
            divergence = _divergence(self._tensor(batch["soft_labels"]).flatten(0, -2), log_probabilities)
        else:
            divergence = self._bucket_divergence(batch, log_probabilities)
        return loss + (self._tensor(batch["soft_weight"]).flatten() * temperature**2 * divergence).sum()

    def _gaussian_loss(self, answers: Tensor, batch: Arrays) -> Tensor:
        student = Normal(answers[:, 0], (answers[:, 1] / 2).exp())
        hard: Tensor = -student.log_prob(self._tensor(batch["labels"]).flatten())  # type: ignore[no-untyped-call]
        loss: Tensor = (self._tensor(batch["hard_weight"]).flatten() * hard).sum()
        if self._manifest.soft_labels == "none":
            return loss
        mean, log_variance = self._tensor(batch["soft_labels"]).flatten(0, -2).unbind(-1)
        divergence: Tensor = kl_divergence(Normal(mean, (log_variance / 2).exp()), student)
        return loss + (self._tensor(batch["soft_weight"]).flatten() * divergence).sum()

    def answers(self, x: np.ndarray) -> list[np.ndarray]:
        """Logits, and features where the manifest promises them."""
        self.module.eval()
        with torch.no_grad():
            if not self._manifest.feature_width:
                return [self.module(self._tensor(x)).numpy()]
            logits, features = with_features(self.module, lambda: self.module(self._tensor(x)))
            return [logits.numpy(), features.numpy()]

    def parameters(self) -> dict[str, np.ndarray]:
        tensors = student_state(self.module).tensors
        return {name: value.detach().numpy().copy() for name, value in tensors.items()}

    def gradients(self, batch: Arrays) -> dict[str, np.ndarray]:
        """The gradients of the loss, at the present parameters."""
        named = student_state(self.module).trainable
        buffers = {name: value.clone() for name, value in student_state(self.module).buffers.items()}
        gradients = torch.autograd.grad(self.loss(batch), list(named.values()), materialize_grads=True)
        for name, value in student_state(self.module).buffers.items():
            value.copy_(buffers[name])
        return {name: gradient.numpy() for name, gradient in zip(named, gradients, strict=True)}

    def _bucket_divergence(self, batch: Arrays, log_probabilities: Tensor) -> Tensor:
        """KL over the k named classes and one bucket for all others."""
        indices = torch.from_numpy(batch["soft_indices"]).flatten(0, -2)
        named = self._tensor(batch["soft_probabilities"]).flatten(0, -2)
        others = torch.ones_like(log_probabilities).scatter(1, indices, 0).bool()
        rest = log_probabilities.masked_fill(~others, -torch.inf).logsumexp(-1, keepdim=True)
        buckets = torch.cat([log_probabilities.gather(1, indices), rest], -1)
        return _divergence(torch.cat([named, 1 - named.sum(-1, keepdim=True)], -1), buckets)

    def _tensor(self, array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(array)
        return tensor.to(self._dtype) if tensor.is_floating_point() else tensor


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Steps this small are several times slower on many threads, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _weighing(batch: Arrays) -> Arrays:
    """The rows of a batch that weigh something."""
    weight = batch["hard_weight"] + batch.get("soft_weight", 0)
    rows = weight.reshape(len(weight), -1).sum(-1) > 0
    return {name: array if name == "temperature" else array[rows] for name, array in batch.items()}


def _divergence(target: Tensor, log_probabilities: Tensor) -> Tensor:
    return functional.kl_div(log_probabilities, target, reduction="none").sum(-1)


def _optimizer(kind: Optimizer, module: nn.Module) -> torch.optim.Optimizer:
    learning = list(student_state(module).trainable.values())
    if kind is Optimizer.ADAMW:
        return torch.optim.AdamW(learning)
    return torch.optim.SGD(learning, momentum=0.9 if kind is Optimizer.MOMENTUM else 0.0)
