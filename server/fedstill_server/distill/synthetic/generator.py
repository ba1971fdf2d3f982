"""Generators that learn from the teacher alone which examples to make.

DAFL (Chen et al. 2019, arXiv 1904.01186): the teacher shall be sure of each example, and all classes occur:

    CE(teacher(x), argmax) - activation mean|f(x)| + balance sum_c p_c log p_c        p = mean
    softmax(teacher(x))

DFAD (Fang et al. 2019, arXiv 1912.11006): a student that learns along shall disagree with the teacher:

    generator max, student min   mean |teacher(x) - student(x)|

Both are used here to make a set of examples, gathered while the generator learns, on which any technique
then trains. `activation` is off by default: on 8x8 digits it costs some ten points. DFAD's student is of the
family that is distilled, and is thrown away.
"""

from __future__ import annotations

import torch
from fedstill_proto.soft_labels import FloatArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fedstill_server.distill.layers import inner_layers, watched
from fedstill_server.distill.synthetic.interface import Canvas
from fedstill_server.distill.synthetic.inversion import frozen

_NOISE = 32  # numbers that an example is made from
_HIDDEN = 128
_BATCH = 128


class _Generator(nn.Module):
    def __init__(self, canvas: Canvas) -> None:
        super().__init__()
        self.canvas = canvas
        self.layers = nn.Sequential(
            nn.Linear(_NOISE, _HIDDEN),
            nn.BatchNorm1d(_HIDDEN),
            nn.LeakyReLU(0.2),
            nn.Linear(_HIDDEN, canvas.width),
            nn.Sigmoid(),
        )

    def forward(self, noise: Tensor) -> Tensor:
        return self.canvas.of_unit(self.layers(noise))


def _new_generator(canvas: Canvas) -> _Generator:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(canvas.seed)
        return _Generator(canvas)


def one_hot_examples(
    teacher: nn.Module,
    canvas: Canvas,
    *,
    steps: int = 400,
    learning_rate: float = 2e-3,
    activation: float = 0.0,
    balance: float = 5.0,
) -> FloatArray:
    """DAFL's [count, *shape]."""
    random, generator = canvas.random(), _new_generator(canvas)
    optimizer = torch.optim.Adam(generator.parameters(), lr=learning_rate)
    layers = inner_layers(teacher)[-1:]
    shelf = _Shelf(canvas, steps)
    with frozen(teacher), watched(teacher, layers) as seen:
        for _ in range(steps):
            made = generator(torch.randn(_BATCH, _NOISE, generator=random))
            logits = teacher(made)
            mean = torch.softmax(logits, dim=-1).mean(dim=0).clamp(min=1e-8)
            loss = cross_entropy(logits, logits.argmax(dim=-1)) + balance * (mean * mean.log()).sum()
            for layer in layers:
                loss = loss - activation * seen[layer].abs().mean()
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
    """DFAD's [count, *shape], with DAFL's balance of classes; `student` is trained along."""
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
            mean = torch.softmax(logits, dim=-1).mean(dim=0).clamp(min=1e-8)
            apart = (logits - student(made)).abs().mean()
            # The logarithm, as in DFAD's code, keeps the generator from running away.
            _move(maker, -torch.log1p(apart) + balance * (mean * mean.log()).sum())
    return shelf.examples()


def _move(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


class _Shelf:
    """Takes its share of the examples from every step of a generator's life."""

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
