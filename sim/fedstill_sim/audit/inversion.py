"""A server that sends no weights, and finds private examples whose training gives the answers that it got.

Informed reconstruction (Balle, Cherubin and Hayes 2022, arXiv 2201.04845) against tasks that a policy lets
through. Each task has the device make another start: it distils the installed student into soft labels that
the server draws at random. From there it trains, and answers how far its logits of public rows moved. All of
that but the private examples is known: the starts, and the order of the batches, which follow from the task
and the device's name. So the server looks for the examples X that make

    sum over tasks |answer(task, X) - answer|^2

least, by gradient descent (Adam) through the device's own steps of training: momentum and all, for
perceptrons with one hidden layer. It is given what an adversary may have from elsewhere: how many examples
there are, and of which class each is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from fedstill_client.model.order import device_ids, epoch_order
from fedstill_client.model.trainer import Personalizer
from fedstill_client.rounds.round import made_start
from fedstill_proto.arrays import Float64Array, FloatArray, IntArray, Parameters
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import (
    Optimizer,
    PrivateStatistics,
    PublicSoftLabels,
    RoundTask,
    StartPlan,
    StartSource,
    SummaryKind,
    SummaryRequest,
    TrainingPlan,
)
from fedstill_proto.package.artifact import TrainingArtifact
from fedstill_proto.privacy import Noising
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels
from fedstill_proto.soft_labels.levels import Grid
from torch import Tensor

_LAYERS = ("hidden.weight", "hidden.bias", "output.weight", "output.bias")
_LEAST = 0.5 / 255  # the least share that an answer tells apart
_MOMENTUM = 0.9
_TASKS_AT_ONCE, _ROWS_AT_ONCE = 8, 128
_RATE, _LAST_RATE = 0.02, 0.0004  # Adam's, in units of a pixel
_FIRST_SPREAD = 0.1  # of a pixel, around the mean public row

Ask = Callable[[RoundTask], PrivateStatistics]
"""(a task) -> what the device answers, decoded."""


@dataclass(frozen=True, kw_only=True)
class TaskRange:
    """What the tasks of the attack ask for: as much as a device's policy allows.

    Attributes:
        start_epochs: Passes over the public rows that make a start.
        epochs: Passes over the private examples.
        learning_rate: That of both.
        bits: Bits of a number of an answer.
        rows: Public rows that an answer is about.
        noising: The noise of an answer, whose clip is above its length; None asks for none.
    """

    start_epochs: int = 20
    epochs: int = 4
    learning_rate: float = 0.1
    bits: int = 8
    rows: int = 512
    noising: Noising | None = None


class Inversion:
    """The attack on one device, task by task."""

    def __init__(
        self,
        artifact: TrainingArtifact,
        installed: Parameters,
        *,
        public_x: FloatArray,
        device: str,
        labels: IntArray,
        asks: TaskRange,
        seed: int = 0,
    ) -> None:
        """What the server knows.

        Args:
            artifact: The training artifact of the device's package, for one device.
            installed: The student of the package.
            public_x: The public set [P, *shape].
            device: The device's name.
            labels: The class of each private example [n].
            asks: What its tasks ask for.
            seed: Decides the soft labels that it draws.

        Raises:
            FedstillError: The student is no perceptron with one hidden layer that learns by momentum.
        """
        manifest = artifact.manifest
        if tuple(spec.name for spec in manifest.parameters) != _LAYERS:
            raise FedstillError(
                f"the attack is on a perceptron with one hidden layer, and {manifest.family!r} is none; name "
                "a family such as mlp-small"
            )
        if manifest.optimizer is not Optimizer.MOMENTUM:
            raise FedstillError(f"the attack is on momentum, and the package has {manifest.optimizer.value}")
        self._manifest, self._installed = manifest, installed
        self._personalizer = Personalizer(artifact)
        self._public_x, self._device, self._labels, self._asks = public_x, device, labels, asks
        self._generator = np.random.default_rng(seed)
        self._starts: list[Parameters] = []
        self._orders: list[IntArray] = []
        self._answers: list[Float64Array] = []

    def ask(self, device: Ask, *, number: int) -> None:
        """Send the device a task with a start of its own, and note the answer.

        Args:
            device: The device.
            number: The task's round.

        Raises:
            FedstillError: The device refuses.
        """
        task = self._task(number)
        self._answers.append(self._moved(device(task)))
        made = made_start(self._installed, task, self._personalizer, self._public_x)
        self._starts.append({name: array[0].copy() for name, array in made.items()})
        self._orders.append(self._order(task))

    @property
    def tasks(self) -> int:
        """How many tasks were answered."""
        return len(self._answers)

    def found(self, *, steps: int) -> Float64Array:
        """The examples [n, pixels] whose training comes nearest to the answers, by so many steps of Adam."""
        torch.manual_seed(0)
        pixels = int(np.prod(self._manifest.input_shape))
        public = torch.from_numpy(self._public_x.reshape(-1, pixels)[: self._asks.rows])
        answers = torch.from_numpy(np.stack(self._answers)).float()
        simulated = _Simulation(
            [torch.from_numpy(np.stack([start[name] for start in self._starts])) for name in _LAYERS],
            torch.from_numpy(np.stack(self._orders)),
            torch.nn.functional.one_hot(torch.from_numpy(self._labels), self._manifest.classes).float(),
            asks=self._asks,
            batch=self._manifest.step_rows,
        )
        drawn = torch.randn(len(self._labels), pixels)
        examples = (public.mean(dim=0) + _FIRST_SPREAD * drawn).clamp(0, 1).requires_grad_(True)
        adam = torch.optim.Adam([examples], lr=_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps, _LAST_RATE)
        for _ in range(steps):
            tasks = torch.randint(self.tasks, (min(self.tasks, _TASKS_AT_ONCE),))
            rows = torch.randint(len(public), (_ROWS_AT_ONCE,))
            wrong = simulated.answer(examples, tasks, public[rows]) - answers[tasks][:, rows]
            adam.zero_grad()
            wrong.square().mean().backward()  # type: ignore[no-untyped-call]
            adam.step()
            schedule.step()
            with torch.no_grad():
                examples.clamp_(0, 1)
        return np.asarray(examples.detach().numpy(), np.float64)

    def _moved(self, answer: PrivateStatistics) -> Float64Array:
        """How far the device says that the centred log soft labels moved [rows, classes]."""
        if answer.noised is not None:
            assert self._asks.noising is not None  # or there would be none
            return self._asks.noising.values(answer.noised).reshape(-1, self._manifest.classes)
        assert answer.soft_labels is not None  # the task asks for them
        told = np.log(np.maximum(answer.soft_labels.dense(), 1e-9)).astype(np.float64)
        return np.asarray(told - told.mean(axis=1, keepdims=True))

    def _task(self, number: int) -> RoundTask:
        asks = self._asks
        training = TrainingPlan(
            epochs=asks.epochs,
            batch_size=self._manifest.step_rows,
            learning_rate=asks.learning_rate,
            optimizer=self._manifest.optimizer,
            temperature=1.0,
            soft_weight=0.0,
            seed=number,
        )
        codec = SoftLabelCodec(Encoding.LEVELS, bits=asks.bits, grid=Grid.LOG)
        request = SummaryRequest(
            SummaryKind.PUBLIC_SET,
            codec if asks.noising is None else None,
            np.arange(min(asks.rows, len(self._public_x))),
            relative=True,
            noising=asks.noising,
        )
        every = np.arange(len(self._public_x))
        return RoundTask(
            "0badc0de",
            number,
            self._manifest.family,
            training,
            request,
            soft_targets=PublicSoftLabels(every, DenseSoftLabels(self._drawn_labels())),
            start=StartPlan(
                source=StartSource.INSTALLED, epochs=asks.start_epochs, learning_rate=asks.learning_rate
            ),
        )

    def _drawn_labels(self) -> FloatArray:
        """Soft labels [P, classes] of the public rows by a network drawn at random: all starts differ."""
        x = self._public_x.reshape(len(self._public_x), -1)
        draw = self._generator.normal
        hidden = np.maximum(x @ (0.5 * draw(size=(x.shape[1], 32))) + draw(size=32), 0)
        logits = hidden @ draw(size=(32, self._manifest.classes))
        logits -= logits.mean(axis=0)
        shares = np.exp(logits / logits.std())
        labels: FloatArray = (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)
        return labels

    def _order(self, task: RoundTask) -> IntArray:
        """The order of the private examples in each epoch [epochs, n], which follows from the task."""
        count = len(self._labels)
        return np.stack(
            [
                epoch_order(
                    task.training.seed,
                    device_ids([self._device]),
                    round=task.round,
                    epoch=epoch,
                    counts=np.array([count]),
                    capacity=count,
                )[0]
                for epoch in range(task.training.epochs)
            ]
        )


class _Simulation:
    """The device's training and answer, of many tasks at once, for torch to differentiate."""

    def __init__(
        self, starts: Sequence[Tensor], orders: Tensor, labels: Tensor, *, asks: TaskRange, batch: int
    ) -> None:
        self._starts, self._orders, self._labels = starts, orders, labels
        self._asks, self._batch = asks, batch

    def answer(self, examples: Tensor, tasks: Tensor, rows: Tensor) -> Tensor:
        """Centred log soft labels [tasks, rows, classes] of how far the logits of public rows moved."""
        start = [each[tasks] for each in self._starts]
        parameters, moments = start, [torch.zeros_like(each) for each in start]
        for epoch in range(self._asks.epochs):
            for first in range(0, len(examples), self._batch):
                batch = self._orders[tasks, epoch, first : first + self._batch]
                gradients = _gradients(parameters, examples[batch], self._labels[batch])
                moments = [_MOMENTUM * m + g for m, g in zip(moments, gradients, strict=True)]
                parameters = [
                    each - self._asks.learning_rate * moment
                    for each, moment in zip(parameters, moments, strict=True)
                ]
        moved = _log_shares(parameters, rows) - _log_shares(start, rows)
        return moved - moved.mean(dim=-1, keepdim=True)


def _gradients(parameters: Sequence[Tensor], x: Tensor, y: Tensor) -> list[Tensor]:
    """The gradients of the mean cross-entropy of x [tasks, b, pixels] with labels y [tasks, b, classes]."""
    weight, bias, out_weight, out_bias = parameters
    seen = x @ weight.transpose(1, 2) + bias[:, None]
    hidden = torch.relu(seen)
    wrong = (torch.softmax(hidden @ out_weight.transpose(1, 2) + out_bias[:, None], -1) - y) / x.shape[1]
    back = (wrong @ out_weight) * (seen > 0)
    return [back.transpose(1, 2) @ x, back.sum(dim=1), wrong.transpose(1, 2) @ hidden, wrong.sum(dim=1)]


def _log_shares(parameters: Sequence[Tensor], x: Tensor) -> Tensor:
    weight, bias, out_weight, out_bias = parameters
    hidden = torch.relu(x @ weight.transpose(1, 2) + bias[:, None])
    shares = torch.softmax(hidden @ out_weight.transpose(1, 2) + out_bias[:, None], -1)
    return torch.log(shares.clamp_min(_LEAST))
