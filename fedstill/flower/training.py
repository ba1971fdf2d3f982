"""Local training of a torch student: batches in the order that a device draws, and their distillation loss.

    loss = (1 - a) * CE(z, y) + a * T^2 KL(soft label || softmax(z / T))

(Hinton et al. 2015, arXiv 1503.02531) with a = soft_weight. Where the fleet says one soft label a class, an
example's is that of its class; where it says those of public examples, a step takes as many of them besides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from fedstill_client.model.batches import StackPlan
from fedstill_client.model.step import StepArrays
from fedstill_client.rounds.distilled_start import StartSteps
from fedstill_proto.arrays import IntArray
from fedstill_proto.messages import ClassSoftLabels, Optimizer, RoundTask, TrainingPlan
from fedstill_proto.package.artifact import StudentManifest
from fedstill_proto.soft_labels.label_arrays import TopKSoftLabels

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    HardLoss = Callable[[Tensor, Tensor], Tensor]
    Train = Callable[[nn.Module, "LocalTraining"], None]

_MOMENTUM = 0.9


class LocalTraining:
    """What a device is to learn in a round: the argument of a training function of one's own.

        def train(network: nn.Module, training: fs.flower.LocalTraining) -> None:
            optimizer = torch.optim.Adam(network.parameters(), lr=training.plan.learning_rate)
            for x, y in training.batches():
                optimizer.zero_grad()
                training.loss(network, x, y).backward()
                optimizer.step()

    A loop over `x` and `y` in batches of one's own is as good; where examples of one's own are added, `loss`
    takes them, too.

    Attributes:
        x: The private examples [n, *shape], float32.
        y: Their labels [n], int64.
        plan: What the round asks for: epochs, batch_size, learning_rate, optimizer, temperature, soft_weight.
        round: Its number, from 1.
    """

    def __init__(self, steps: StackPlan, task: RoundTask) -> None:
        """Read the first device of a stack's plan for `task`."""
        import torch

        self.plan: TrainingPlan = task.training
        self.round = task.round
        self._steps = steps
        own = steps.private_steps.weight[:, 0] > 0  # [S, B]
        rows, first = np.unique(steps.private_steps.rows[:, 0][own], return_index=True)
        self.x: Tensor = torch.from_numpy(steps.table[rows])
        self.y: Tensor = torch.from_numpy(steps.private_steps.labels[:, 0][own][first])
        self._row_of_class: Tensor | None = None  # [classes], -1 where the fleet says nothing
        if steps.soft_steps is not None and isinstance(task.soft_targets, ClassSoftLabels):
            present = task.soft_targets.present_classes
            self._row_of_class = torch.full((task.soft_targets.soft_labels.classes,), -1)
            self._row_of_class[torch.from_numpy(present)] = torch.arange(len(present))
        self._taken = 0  # losses
        self._losses: list[float] = []

    @property
    def mean_loss(self) -> float:
        """The mean loss of all batches so far; NaN before the first."""
        return float(np.mean(self._losses)) if self._losses else float("nan")

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All batches (x [b, *shape], y [b]) of the round, epoch after epoch, each in a new order.

        A device without private examples gets empty ones, whose `loss` is that of public examples.
        """
        import torch

        private = self._steps.private_steps
        for step in range(self._steps.steps):
            own = private.weight[step, 0] > 0
            x = self._steps.table[private.rows[step, 0, own]]
            yield torch.from_numpy(x), torch.from_numpy(private.labels[step, 0, own])

    def loss(self, network: nn.Module, x: Tensor, y: Tensor, *, hard: HardLoss | None = None) -> Tensor:
        """The distillation loss of a batch, a scalar; each call takes the next public examples.

        Args:
            network: The student.
            x: Examples [b, *shape], on any device that the network is on.
            y: Their labels [b].
            hard: Another loss of the labels than cross-entropy: of logits [b, classes] and labels [b], for
                each example, [b].
        """
        from torch.nn.functional import cross_entropy

        logits = network(x) if len(y) else None
        soft_weight = 0.0 if self._steps.soft_steps is None else self.plan.soft_weight
        terms: list[Tensor] = []
        if logits is not None:
            each = cross_entropy(logits, y, reduction="none") if hard is None else hard(logits, y)
            if self._row_of_class is not None:
                rows = self._row_of_class.to(y.device)[y]
                known = rows >= 0
                terms.append((each * (1 - soft_weight * known)).mean())
                if bool(known.any()):
                    soft = self._soft_loss(logits[known], rows[known])
                    terms.append(soft_weight * soft * known.sum() / len(y))
            else:
                terms.append((1 - soft_weight) * each.mean())
        if self._steps.public_x is not None and self._steps.soft_steps is not None:
            terms.append(soft_weight * self._public_loss(network, x))
        self._taken += 1
        total: Tensor = sum(terms[1:], terms[0])
        self._losses.append(float(total.detach()))
        return total

    def _public_loss(self, network: nn.Module, like: Tensor) -> Tensor:
        """That of the next public examples, on the device of `like`."""
        import torch

        soft, public_x = self._steps.soft_steps, self._steps.public_x
        assert soft is not None
        assert public_x is not None
        step = self._taken % self._steps.steps
        rows = soft.labels[step, 0, soft.weight[step, 0] > 0]
        x = torch.from_numpy(public_x[rows]).to(like.device)
        return self._soft_loss(network(x), torch.from_numpy(rows).to(like.device))

    def _soft_loss(self, logits: Tensor, rows: Tensor) -> Tensor:
        at = rows.cpu().numpy()
        return _distillation(logits, self._steps, at, temperature=self.plan.temperature)


def train_as_planned(network: nn.Module, training: LocalTraining) -> None:
    """The steps that a device without torch takes: the plan's optimizer over the plan's batches."""
    optimizer = _optimizer(network, training.plan, training.plan.learning_rate)
    for x, y in training.batches():
        optimizer.zero_grad()
        training.loss(network, x, y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def distil(network: nn.Module, steps: StartSteps, task: RoundTask, manifest: StudentManifest) -> float:
    """Let the network learn the soft labels of a round's start (see distilled_start.py); the mean loss."""
    import torch

    assert task.start is not None  # these are its steps
    plan, losses = task.training, []
    optimizer = _optimizer(network, plan, task.start.learning_rate)
    batch = StepArrays.empty(manifest)
    assert batch.soft_weight is not None  # a manifest of a task with soft labels
    steps.start(batch)
    for step in range(steps.steps):
        steps.fill(step, batch)
        for group in optimizer.param_groups:
            group["lr"] = float(batch.lr[0])
        here = batch.soft_weight[0] > 0
        logits = network(torch.from_numpy(batch.x[0, here]))
        loss = _distillation(logits, steps.plan, steps.rows(step), temperature=plan.temperature)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    return float(np.mean(losses)) if losses else float("nan")


def _distillation(logits: Tensor, steps: StackPlan, at: IntArray, *, temperature: float) -> Tensor:
    """T^2 KL of logits [b, classes] against the soft labels in these rows [b] of the task's."""
    import torch
    from fedstill_server.losses.response import soft_label_loss
    from fedstill_server.losses.top_k import top_k_bucket_loss

    told = steps.soft_labels
    assert told is not None

    def tensor(table: np.ndarray) -> Tensor:
        return torch.from_numpy(table[at]).to(logits.device)

    if isinstance(told, TopKSoftLabels):
        named = tensor(told.probabilities)
        return top_k_bucket_loss(logits, tensor(told.indices), named, temperature=temperature)
    return soft_label_loss(logits, tensor(told.dense()), temperature=temperature)


def _optimizer(network: nn.Module, plan: TrainingPlan, learning_rate: float) -> torch.optim.Optimizer:
    import torch

    if plan.optimizer is Optimizer.ADAMW:
        return torch.optim.AdamW(network.parameters(), lr=learning_rate)
    momentum = _MOMENTUM if plan.optimizer is Optimizer.MOMENTUM else 0.0
    return torch.optim.SGD(network.parameters(), lr=learning_rate, momentum=momentum)
