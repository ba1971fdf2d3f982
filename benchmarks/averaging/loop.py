"""A plain torch loop over devices, as tight as a careful engineer writes it.

Every batch is a tensor before the clock starts; there is no DataLoader, no module and no optimizer object in
the loop, and weights are updated in place.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from averaging.clock import Clock
from averaging.workload import BATCH_SIZE, LEARNING_RATE, Workload


def mlp(weights: list[Tensor], x: Tensor) -> Tensor:
    """Logits [n, 10] of x [n, 64]."""
    w1, b1, w2, b2 = weights
    return F.linear(F.relu(F.linear(x, w1, b1)), w2, b2)


def cnn(weights: list[Tensor], x: Tensor) -> Tensor:
    """Logits [n, 10] of x [n, 1, 8, 8]."""
    w1, b1, w2, b2, w3, b3 = weights
    x = F.max_pool2d(F.relu(F.conv2d(x, w1, b1, padding=1)), 2)
    x = F.max_pool2d(F.relu(F.conv2d(x, w2, b2, padding=1)), 2)
    return F.linear(x.flatten(1), w3, b3)


FORWARD = {"mlp": mlp, "cnn": cnn}
SHAPE = {"mlp": (64,), "cnn": (1, 8, 8)}


def run(work: Workload, clock: Clock) -> None:
    """Run FedAvg rounds until the clock ends."""
    torch.set_num_threads(work.threads)
    forward = FORWARD[work.model]
    users = _batches(work)
    examples = sum(count for _, count in users)
    names = list(work.student())
    student = [torch.from_numpy(array) for array in work.student().values()]
    while clock.start():
        total = [torch.zeros_like(weight) for weight in student]
        for batches, count in users:
            weights = [weight.clone().requires_grad_() for weight in student]
            for x, y in batches:
                gradients = torch.autograd.grad(F.cross_entropy(forward(weights, x), y), weights)
                with torch.no_grad():
                    torch._foreach_add_(weights, gradients, alpha=-LEARNING_RATE)
            with torch.no_grad():
                torch._foreach_add_(total, weights, alpha=count)
        student = [weight / examples for weight in total]
        clock.stop(dict(zip(names, (weight.numpy() for weight in student), strict=True)))


def _batches(work: Workload) -> list[tuple[list[tuple[Tensor, Tensor]], int]]:
    """Each user's batches in stored order, and how many examples they hold."""
    data = work.data()
    users = []
    for rows in data.train:
        x = torch.from_numpy(data.x[rows].reshape(-1, *SHAPE[work.model]))
        y = torch.from_numpy(data.y[rows])
        users.append(
            (list(zip(torch.split(x, BATCH_SIZE), torch.split(y, BATCH_SIZE), strict=True)), len(rows))
        )
    return users
