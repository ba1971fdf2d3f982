"""Generators that learn from the teacher alone which examples to make.

DAFL (Chen et al. 2019, arXiv 1904.01186): the teacher should be sure of each example, the example's features
strong, and all classes should occur (losses/data_free.py):

    one-hot + activation mean-activation + balance information-entropy

As in the authors' code, the generator ends in a batch normalization, so that every value varies from one
example to the next; `contrast` is how far, in standard deviations of a logistic scale. Without it, and its
contrast, the examples were no better than noise; see docs/distillation.md for how much of the gain is the
contrast alone.

DFAD (Fang et al. 2019, arXiv 1912.11006): a student that is trained along should disagree with the teacher:

    generator max, student min   mean |teacher(x) - student(x)|

Both are used here to make a set of examples, gathered while the generator learns, on which any technique
then trains: better, here, than the student that is trained along. `activation` is off by default: on 8x8
digits it costs half a point. DFAD's student is of the family that is distilled, and is thrown away.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from fedstill_proto.arrays import FloatArray
from torch import Tensor, nn

from fedstill_server.distill.synthetic.interface import Canvas
from fedstill_server.distill.synthetic.inversion import frozen
from fedstill_server.losses import activation_loss, information_entropy_loss, one_hot_loss

_NOISE = 32  # numbers that an example is made from
_HIDDEN = 128
_BATCH = 128


class _Generator(nn.Module):
    """`contrast` None ends without a normalization."""

    def __init__(self, canvas: Canvas, *, contrast: float | None) -> None:
        super().__init__()
        self.canvas, self.contrast = canvas, 1.0 if contrast is None else contrast
        self.layers = nn.Sequential(
            nn.Linear(_NOISE, _HIDDEN),
            nn.BatchNorm1d(_HIDDEN),
            nn.LeakyReLU(0.2),
            nn.Linear(_HIDDEN, canvas.width),
            *(() if contrast is None else (nn.BatchNorm1d(canvas.width),)),
        )

    def forward(self, noise: Tensor) -> Tensor:
        return self.canvas.of_unit(torch.sigmoid(self.contrast * self.layers(noise)))


def _new_generator(canvas: Canvas, *, contrast: float | None = None) -> _Generator:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(canvas.seed)
        return _Generator(canvas, contrast=contrast)


@contextmanager
def _features_of(network: nn.Module) -> Iterator[list[Tensor]]:
    """A context in which a forward pass leaves the input of the network's last layer in the list."""
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    seen: list[Tensor] = []

    def keep(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen[:] = inputs[:1]

    handles = [layer.register_forward_pre_hook(keep) for layer in layers[-1:]]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def one_hot_examples(
    teacher: nn.Module,
    canvas: Canvas,
    *,
    steps: int = 800,
    learning_rate: float = 2e-3,
    activation: float = 0.0,
    balance: float = 5.0,
    contrast: float = 4.0,
) -> FloatArray:
    """DAFL's examples [count, *shape]."""
    random, generator = canvas.random(), _new_generator(canvas, contrast=contrast)
    optimizer = torch.optim.Adam(generator.parameters(), lr=learning_rate)
    shelf = _Shelf(canvas, steps)
    with frozen(teacher), _features_of(teacher) as features:
        for _ in range(steps):
            made = generator(torch.randn(_BATCH, _NOISE, generator=random))
            logits = teacher(made)
            loss = one_hot_loss(logits) + balance * information_entropy_loss(logits)
            if activation and features:
                loss = loss + activation * activation_loss(features[0])
            _move(optimizer, loss)
            shelf.add(made)
    return shelf.examples()


def adversarial_examples(
    teacher: nn.Module,
    student: nn.Module,
    canvas: Canvas,
    *,
    steps: int = 400,
    student_steps: int = 3,  # for each of the generator's
    learning_rate: float = 2e-3,
    balance: float = 5.0,
) -> FloatArray:
    """DFAD's examples [count, *shape], with DAFL's balance of classes; `student` is trained along."""
    random, generator = canvas.random(), _new_generator(canvas)
    maker = torch.optim.Adam(generator.parameters(), lr=learning_rate)
    learner = torch.optim.Adam(student.parameters(), lr=learning_rate)
    shelf = _Shelf(canvas, steps)
    with frozen(teacher):
        for _ in range(steps):
            for _ in range(student_steps):
                made = generator(torch.randn(_BATCH, _NOISE, generator=random)).detach()
                _move(learner, (teacher(made) - student(made)).abs().mean())
            shelf.add(made)
            made = generator(torch.randn(_BATCH, _NOISE, generator=random))
            logits = teacher(made)
            apart = (logits - student(made)).abs().mean()
            # The logarithm, as in DFAD's code, keeps the generator from running away.
            _move(maker, -torch.log1p(apart) + balance * information_entropy_loss(logits))
    return shelf.examples()


def _move(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


class _Shelf:
    """Collects an equal share of the examples from every step of a generator's training."""

    def __init__(self, canvas: Canvas, steps: int) -> None:
        self.count = canvas.count
        self.each = -(-canvas.count // steps)
        self.kept: list[Tensor] = []

    def add(self, made: Tensor) -> None:
        self.kept.append(made[: self.each].detach())

    def examples(self) -> FloatArray:
        # From the end: early examples are those of a generator that knew least.
        x: FloatArray = torch.cat(self.kept[::-1])[: self.count].numpy()
        return x
